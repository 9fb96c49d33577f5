package grpctransport

import (
	"github.com/nodeserver/nodeserver/channel"
	"github.com/nodeserver/nodeserver/membership"
	channelv1 "github.com/nodeserver/nodeserver/proto/channel/v1"
	membershipv1 "github.com/nodeserver/nodeserver/proto/membership/v1"
)

// The wire's types stay in this package; these turn them into the channel's and back. Enumerations
// are one apart where the wire has an UNSPECIFIED.

func toMember(m membership.Member) *membershipv1.Member {
	return &membershipv1.Member{
		Name: m.Name, Incarnation: m.Incarnation, ChannelAddress: m.ChannelAddress, HttpAddress: m.HTTPAddress,
		Apps: m.Apps, Domain: m.Domain, Version: m.Version, Paths: m.Paths, Https: m.HTTPS,
	}
}

func fromMember(m *membershipv1.Member) membership.Member {
	return membership.Member{
		ID:             membership.ID{Name: m.GetName(), Incarnation: m.GetIncarnation()},
		ChannelAddress: m.GetChannelAddress(), HTTPAddress: m.GetHttpAddress(),
		Apps: m.GetApps(), Domain: m.GetDomain(), Version: m.GetVersion(), Paths: m.GetPaths(), HTTPS: m.GetHttps(),
	}
}

func toMembers(list []membership.Member) []*membershipv1.Member { return each(list, toMember) }

func fromMembers(list []*membershipv1.Member) []membership.Member { return each(list, fromMember) }

func each[A, B any](list []A, f func(A) B) []B {
	var out []B
	for _, a := range list {
		out = append(out, f(a))
	}
	return out
}

func toStatuses(list []membership.Status) []*channelv1.MemberStatus {
	return each(list, func(s membership.Status) *channelv1.MemberStatus {
		return &channelv1.MemberStatus{
			Member: toMember(s.Member), State: membershipv1.State(s.State), Ready: s.Ready, Draining: s.Draining,
		}
	})
}

func fromStatuses(list []*channelv1.MemberStatus) []membership.Status {
	return each(list, func(s *channelv1.MemberStatus) membership.Status {
		return membership.Status{
			Member: fromMember(s.GetMember()), State: membership.State(s.GetState()), Ready: s.GetReady(), Draining: s.GetDraining(),
		}
	})
}

func toWelcome(w channel.Welcome) *channelv1.ExchangeResponse {
	return &channelv1.ExchangeResponse{Message: &channelv1.ExchangeResponse_Welcome{Welcome: &channelv1.Welcome{
		Self: toMember(w.Self), Known: toMembers(w.Known),
	}}}
}

func fromWelcome(w *channelv1.Welcome) channel.Welcome {
	return channel.Welcome{Self: fromMember(w.GetSelf()), Known: fromMembers(w.GetKnown())}
}

func toRefusal(r channel.Refusal) *channelv1.ExchangeResponse {
	return &channelv1.ExchangeResponse{Message: &channelv1.ExchangeResponse_Refusal{Refusal: &channelv1.Refusal{
		Reason: channelv1.Reason(r.Reason), Text: r.Text, Holder: toMember(r.Holder), Own: r.Own, Newcomer: r.Newcomer,
	}}}
}

func fromRefusal(r *channelv1.Refusal) channel.Refusal {
	return channel.Refusal{
		Reason: channel.Reason(r.GetReason()), Text: r.GetText(), Holder: fromMember(r.GetHolder()),
		Own: r.GetOwn(), Newcomer: r.GetNewcomer(),
	}
}

func toMessage(m channel.Message) *channelv1.ExchangeRequest {
	r := &channelv1.ExchangeRequest{}
	switch {
	case m.Frame != nil:
		r.Message = &channelv1.ExchangeRequest_Frame{Frame: toFrame(m.Frame)}
	case m.Heartbeat != nil:
		h := m.Heartbeat
		r.Message = &channelv1.ExchangeRequest_Heartbeat{Heartbeat: &channelv1.Heartbeat{
			Ready: h.Ready, Draining: h.Draining, Known: toMembers(h.Known), Apps: toApps(h.Apps), Topics: toTopics(h.Topics),
		}}
	case m.Hello != nil:
		h := m.Hello
		r.Message = &channelv1.ExchangeRequest_Hello{Hello: &channelv1.Hello{
			Cluster: h.Cluster, WireMin: h.WireMin, WireMax: h.WireMax,
			Self: toMember(h.Self), Known: toMembers(h.Known),
		}}
	case m.Start != nil:
		r.Message = &channelv1.ExchangeRequest_Start{Start: &channelv1.Start{
			Class: channelv1.Class(m.Start.Class) + 1, Link: m.Start.Link, Topics: each(m.Start.Topics, toTopic),
		}}
	case m.Leave != nil:
		r.Message = &channelv1.ExchangeRequest_Leave{Leave: &channelv1.Leave{Reason: m.Leave.Reason}}
	}
	return r
}

func fromMessage(r *channelv1.ExchangeRequest) channel.Message {
	switch m := r.GetMessage().(type) {
	case *channelv1.ExchangeRequest_Frame:
		return channel.Message{Frame: fromFrame(m.Frame)}
	case *channelv1.ExchangeRequest_Heartbeat:
		h := m.Heartbeat
		return channel.Message{Heartbeat: &channel.Heartbeat{
			Ready: h.GetReady(), Draining: h.GetDraining(), Known: fromMembers(h.GetKnown()), Apps: fromApps(h.GetApps()),
			Topics: fromTopics(h.GetTopics()),
		}}
	case *channelv1.ExchangeRequest_Hello:
		h := m.Hello
		return channel.Message{Hello: &channel.Hello{
			Cluster: h.GetCluster(), WireMin: h.GetWireMin(), WireMax: h.GetWireMax(),
			Self: fromMember(h.GetSelf()), Known: fromMembers(h.GetKnown()),
		}}
	case *channelv1.ExchangeRequest_Start:
		// An unspecified class becomes one that doesn't exist, and is refused.
		return channel.Message{Start: &channel.Start{
			Class: channel.Class(m.Start.GetClass() - 1), Link: m.Start.GetLink(), Topics: each(m.Start.GetTopics(), fromTopic),
		}}
	case *channelv1.ExchangeRequest_Leave:
		return channel.Message{Leave: &channel.Leave{Reason: m.Leave.GetReason()}}
	}
	return channel.Message{} // of a newer version: ignored
}

func toTopic(o channel.Offer) *channelv1.Topic {
	return &channelv1.Topic{Name: o.Topic, Incarnation: o.Incarnation, Peer: o.Peer, Number: o.Number}
}

func fromTopic(t *channelv1.Topic) channel.Offer {
	return channel.Offer{Topic: t.GetName(), Incarnation: t.GetIncarnation(), Peer: t.GetPeer(), Number: t.GetNumber()}
}

// Lists that may be absent have messages of their own: absent is something else than empty.

func toTopics(list *[]channel.Offer) *channelv1.Topics {
	if list == nil {
		return nil
	}
	return &channelv1.Topics{Topics: each(*list, toTopic)}
}

func fromTopics(t *channelv1.Topics) *[]channel.Offer {
	if t == nil {
		return nil
	}
	list := each(t.GetTopics(), fromTopic)
	return &list
}

func toApps(names *[]string) *channelv1.Apps {
	if names == nil {
		return nil
	}
	return &channelv1.Apps{Names: *names}
}

func fromApps(a *channelv1.Apps) *[]string {
	if a == nil {
		return nil
	}
	names := a.GetNames()
	return &names
}

func toFrame(list []channel.Payload) *channelv1.Frame {
	f := &channelv1.Frame{Payloads: make([]*channelv1.Payload, len(list))}
	for i, p := range list {
		f.Payloads[i] = &channelv1.Payload{Topic: p.Topic, Number: p.Number, Data: p.Data, More: p.More}
	}
	return f
}

func fromFrame(f *channelv1.Frame) []channel.Payload {
	list := make([]channel.Payload, len(f.GetPayloads()))
	for i, p := range f.GetPayloads() {
		list[i] = channel.Payload{Topic: p.GetTopic(), Number: p.GetNumber(), Data: p.GetData(), More: p.GetMore()}
	}
	return list
}
