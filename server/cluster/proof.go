package cluster

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/nodeserver/nodeserver/channel/grpctransport"
	"github.com/nodeserver/nodeserver/server/config"
	"github.com/nodeserver/nodeserver/server/keys"
)

// lookEvery is how often the files that prove membership are looked at.
const lookEvery = time.Second

// Proof is how a process proves that it belongs to the cluster, by what is in the files of its conf
// now: a secret or a CA can be changed while members are connected. Safe for concurrent use.
type Proof struct {
	Security grpctransport.Security

	name    string
	log     *slog.Logger
	changed func([]keys.Secret)

	mu    sync.Mutex
	conf  config.Config
	state string // of the files that are in force, or that could not be used
}

// NewProof reads the files that the conf names, as [Security] does. changed is called with the
// cluster's secrets, the newest first, after each change of them.
func NewProof(c config.Config, name string, log *slog.Logger, changed func([]keys.Secret)) (*Proof, error) {
	p := &Proof{name: name, log: log, changed: changed, conf: c}
	p.state = p.look()
	var err error
	p.Security, err = Security(c, name)
	return p, err
}

// Follow renews the proof whenever one of the files changes, until ctx ends. What can't be used
// changes nothing.
func (p *Proof) Follow(ctx context.Context) {
	if !p.Security.TLS() {
		return
	}
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if p.stale() {
			if err := p.Renew(); err != nil {
				p.log.Error("what proves membership has changed and can't be used; what was in force before stays", "err", err)
			}
		}
	}
}

func (p *Proof) look() string {
	c := p.conf
	if c.Channel.TLSCA != "" { // certificate and key are read at each connection
		return keys.State(c.Channel.TLSCA)
	}
	return keys.State(c.Cluster.SecretFile)
}

func (p *Proof) stale() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.look() != p.state
}

// Renew reads the files again, whether or not they have changed. Links to members that proved
// themselves by what is no longer in force are closed, and made anew by those that can.
func (p *Proof) Renew() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state = p.look()
	fresh, err := Security(p.conf, p.name)
	if err != nil {
		return err
	}
	secrets, err := clusterSecrets(p.conf)
	if err != nil {
		return err
	}
	if p.conf.Channel.TLSCA == "" {
		p.changed(secrets) // before members refuse those of before
	}
	closed, err := p.Security.Renew(fresh)
	if err != nil {
		return err
	}
	var ids []string
	for _, s := range secrets {
		ids = append(ids, s.ID())
	}
	p.log.Info(
		"what proves membership was read anew", "event", "conf", "what", "what proves membership",
		"secrets", ids, "connections_closed", closed,
	)
	return nil
}
