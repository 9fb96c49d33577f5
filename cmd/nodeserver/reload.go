package main

import (
	"slices"

	"github.com/nodeserver/nodeserver/conf"
	"github.com/nodeserver/nodeserver/server/config"
)

// reloader reads a daemon's configuration again when it is asked to.
type reloader struct {
	load func() (config.Config, *conf.Origins, error)
	take func(config.Config) // has the daemon take over what can be changed
	log  *logging

	values []conf.Origin // in force, and those of before that need a restart
}

// daemon is what run and balance begin with.
type daemon struct {
	cfg     config.Config
	origins *conf.Origins
	log     *logging
	release func() // to be called at the end: signals mean what they did before
}

// newDaemon reads the configuration, and again at each SIGHUP: take has the daemon take over what can
// be changed, from another goroutine.
func newDaemon(e env, file string, sets []string, take func(config.Config, *logging)) (*daemon, error) {
	load := func() (config.Config, *conf.Origins, error) { return conf.Load(file, sets, e.environ) }
	cfg, origins, err := load()
	if err != nil {
		return nil, err
	}
	log, err := newLogging(e.stderr, cfg.Log)
	if err != nil {
		return nil, err
	}
	anew := &reloader{log: log, values: origins.Values, load: load, take: func(cfg config.Config) { take(cfg, log) }}
	d := &daemon{cfg, origins, log, outlive(log.Logger, anew.reload, log.reopen)}
	for _, w := range origins.Warnings {
		log.Warn("check the configuration", "problem", w.String())
	}
	return d, nil
}

// reload takes over what can be changed, and names the rest. A configuration with an error changes
// nothing. Not to be called by two goroutines at once.
func (r *reloader) reload() error {
	cfg, origins, err := r.load()
	if err != nil {
		return err
	}
	for _, w := range origins.Warnings {
		r.log.Warn("check the configuration", "problem", w.String())
	}
	var changed, restart []string
	for _, key := range differ(r.values, origins.Values) {
		if conf.Live(key) {
			changed = append(changed, key)
		} else {
			restart = append(restart, key)
		}
	}
	r.take(cfg)
	r.log.level.Set(cfg.Log.Level.Level())
	r.values = inForce(r.values, origins.Values)
	r.log.Info("configuration read anew", "changed", changed)
	if len(restart) > 0 {
		r.log.Warn("these keys have changed, and take effect when the process is started again", "keys", restart)
	}
	return nil
}

// differ lists the keys whose values are not the same.
func differ(a, b []conf.Origin) (keys []string) {
	values := map[string]string{}
	for _, o := range a {
		values[o.Key] = o.Value
	}
	for _, o := range b {
		if v, ok := values[o.Key]; !ok || v != o.Value {
			keys = append(keys, o.Key)
		}
		delete(values, o.Key)
	}
	for key := range values {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// inForce is what holds after the change: new values where they can be taken over, old ones elsewhere.
func inForce(before, now []conf.Origin) []conf.Origin {
	list := slices.Clone(before)
	for i, o := range list {
		if k := slices.IndexFunc(now, func(n conf.Origin) bool { return n.Key == o.Key }); k >= 0 && conf.Live(o.Key) {
			list[i] = now[k]
		}
	}
	return list
}
