// Command natskv is scs over a JetStream KV bucket. The NATS server runs inside
// the node and forms a cluster with those of the other nodes.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	natsd "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/nodeserver/nodeserver/bench/peers/peer"
)

func main() {
	c := peer.Flags()
	cluster := flag.String("cluster", "127.0.0.1:6222", "address for the other nodes")
	routes := flag.String("routes", "", "those of all nodes, comma separated")
	dir := flag.String("dir", "", "folder for what JetStream keeps")
	flag.Parse()
	peer.Exit(run(c, *cluster, strings.Split(*routes, ","), *dir))
}

func run(c *peer.Config, cluster string, routes []string, dir string) error {
	o, err := options(c.Node, cluster, routes, dir)
	if err != nil {
		return err
	}
	server, err := natsd.NewServer(o)
	if err != nil {
		return fmt.Errorf("configure NATS: %w", err)
	}
	server.Start()
	defer server.WaitForShutdown()
	defer server.Shutdown()
	if !server.ReadyForConnections(20 * time.Second) {
		return errors.New("NATS is not ready within 20s")
	}
	conn, err := nats.Connect("", nats.InProcessServer(server))
	if err != nil {
		return fmt.Errorf("connect to NATS: %w", err)
	}
	defer conn.Close()
	bucket, err := openBucket(conn, len(routes))
	if err != nil {
		return err
	}
	return peer.Run(c, peer.NewSCS(store{bucket}))
}

func options(node, cluster string, routes []string, dir string) (*natsd.Options, error) {
	host, port, err := net.SplitHostPort(cluster)
	if err != nil {
		return nil, err
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return nil, fmt.Errorf("port of %s: %w", cluster, err)
	}
	o := &natsd.Options{
		ServerName: node, Host: "127.0.0.1", Port: natsd.RANDOM_PORT, NoSigs: true,
		JetStream: true, StoreDir: dir, JetStreamMaxMemory: 4 << 30,
		Cluster: natsd.ClusterOpts{Name: "bench", Host: host, Port: number},
	}
	for _, r := range routes {
		o.Routes = append(o.Routes, &url.URL{Scheme: "nats", Host: r})
	}
	return o, nil
}

// openBucket makes the bucket, or finds it made by another node; the cluster
// needs some seconds to choose a leader first.
func openBucket(conn *nats.Conn, nodes int) (jetstream.KeyValue, error) {
	js, err := jetstream.New(conn)
	if err != nil {
		return nil, fmt.Errorf("open JetStream: %w", err)
	}
	cfg := jetstream.KeyValueConfig{Bucket: "sessions", Replicas: min(nodes, 3), Storage: jetstream.MemoryStorage, TTL: 24 * time.Hour}
	limit := time.Now().Add(60 * time.Second)
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		bucket, err := js.CreateOrUpdateKeyValue(ctx, cfg)
		cancel()
		if err == nil {
			return bucket, nil
		}
		if time.Now().After(limit) {
			return nil, fmt.Errorf("make bucket %s: %w", cfg.Bucket, err)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// store keeps scs's sessions in the bucket, whose TTL expires them.
type store struct{ bucket jetstream.KeyValue }

func (s store) FindCtx(ctx context.Context, token string) ([]byte, bool, error) {
	e, err := s.bucket.Get(ctx, token)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	return e.Value(), true, nil
}

func (s store) CommitCtx(ctx context.Context, token string, b []byte, _ time.Time) error {
	_, err := s.bucket.Put(ctx, token, b)
	return err
}

func (s store) DeleteCtx(ctx context.Context, token string) error {
	return s.bucket.Delete(ctx, token)
}

func (s store) Find(token string) ([]byte, bool, error) {
	return s.FindCtx(context.Background(), token)
}

func (s store) Commit(token string, b []byte, expiry time.Time) error {
	return s.CommitCtx(context.Background(), token, b, expiry)
}

func (s store) Delete(token string) error { return s.DeleteCtx(context.Background(), token) }
