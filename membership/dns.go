package membership

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"
)

// lookupWait bounds one round of questions to name servers.
const lookupWait = 4 * time.Second

// DNS is the provider of addresses from name servers: the addresses of a headless service in
// Kubernetes or of a service in a compose file, or SRV records.
type DNS struct {
	name     string
	resolver *net.Resolver
	log      *slog.Logger
	count    counters
}

var _ Provider = (*DNS)(nil)

// NewDNS returns a provider that looks up name: "host:port" for the A and AAAA records of host,
// each with that port, or the name of SRV records, which bring their ports along (it starts with an
// underscore, like _channel._tcp.nodes.example). A nil resolver is the system's.
func NewDNS(name string, resolver *net.Resolver, log *slog.Logger) *DNS {
	if resolver == nil {
		resolver = net.DefaultResolver
	}
	return &DNS{name: name, resolver: resolver, log: log}
}

// Name is "dns".
func (d *DNS) Name() string { return "dns" }

// Stats is safe for concurrent use. A name that does not exist yet, as while the first node of a
// service starts, is a Problem with Empty; Run goes on.
func (d *DNS) Stats() Stats { return d.count.stats() }

// Run looks the name up at once and every 5 s until ctx ends. It returns an error only for a name
// that can't be looked up at all.
func (d *DNS) Run(ctx context.Context, found func(Candidate)) error {
	srv := strings.HasPrefix(d.name, "_") && !strings.Contains(d.name, ":")
	if err := CheckAddress(d.name); !srv && err != nil {
		return fmt.Errorf("membership.dns_name: %w, nor the name of SRV records (like _channel._tcp.nodes.example)", err)
	}
	lookup := d.hosts
	if srv {
		lookup = d.services
	}
	every(ctx, proposeAgain, func() {
		asking, cancel := context.WithTimeout(ctx, lookupWait)
		defer cancel()
		list, err := lookup(asking)
		if ctx.Err() != nil {
			return
		}
		propose(list, &d.count, found)
		d.count.report(unknownName(err), d.log, d.Name())
	})
	return nil
}

// unknownName marks the error of a name that does not exist: it says that no member is there,
// unlike the error of a name server that fails.
func unknownName(err error) error {
	if e, ok := errors.AsType[*net.DNSError](err); ok && e.IsNotFound {
		return fmt.Errorf("%w (%w)", err, errEmpty)
	}
	return err
}

func (d *DNS) hosts(ctx context.Context) ([]string, error) {
	host, port, err := net.SplitHostPort(d.name)
	if err != nil {
		return nil, err
	}
	ips, err := d.resolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, fmt.Errorf("look up members at %s: %w", host, err)
	}
	var list []string
	for _, ip := range ips {
		list = append(list, net.JoinHostPort(ip.Unmap().String(), port))
	}
	return list, nil
}

// services returns the targets by name; the dialer looks them up.
func (d *DNS) services(ctx context.Context) ([]string, error) {
	_, records, err := d.resolver.LookupSRV(ctx, "", "", d.name)
	if err != nil && len(records) == 0 {
		return nil, fmt.Errorf("look up members at SRV %s: %w", d.name, err)
	}
	var list []string
	var wrong []error
	for _, r := range records {
		a := net.JoinHostPort(strings.TrimSuffix(r.Target, "."), strconv.Itoa(int(r.Port)))
		if err := CheckAddress(a); err != nil {
			wrong = append(wrong, fmt.Errorf("SRV %s: %w", d.name, err))
			continue
		}
		list = append(list, a)
	}
	return list, errors.Join(append(wrong, err)...)
}
