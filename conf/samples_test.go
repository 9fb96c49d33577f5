package conf_test

import (
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pelletier/go-toml/v2"

	"github.com/nodeserver/nodeserver/server/config"
)

// The file with the defaults and the struct have the same keys, and every
// default is written down: what the file says is what comes out.
func TestDefaultsAreComplete(t *testing.T) {
	text, err := os.ReadFile("nodeserver.toml")
	if err != nil {
		t.Fatal(err)
	}
	var tree map[string]map[string]any
	if err := toml.Unmarshal(text, &tree); err != nil {
		t.Fatal(err)
	}
	var inFile, inStruct []string
	for section, keys := range tree {
		for key := range maps.Keys(keys) {
			inFile = append(inFile, section+"."+key)
		}
	}
	for section := range reflect.TypeFor[config.Config]().Fields() {
		if section.Type.Kind() != reflect.Struct {
			continue // [[app]] has no defaults
		}
		for key := range section.Type.Fields() {
			inStruct = append(inStruct, section.Tag.Get("conf")+"."+key.Tag.Get("conf"))
		}
	}
	slices.Sort(inFile)
	slices.Sort(inStruct)
	if diff := cmp.Diff(inStruct, inFile); diff != "" {
		t.Errorf("keys differ (-struct +file):\n%s", diff)
	}

	fromNothing, _ := load(t, "", nil, nil)
	fromFile, _ := load(t, "nodeserver.toml", nil, nil)
	if diff := cmp.Diff(fromNothing, fromFile); diff != "" {
		t.Errorf("the file with the defaults, read as a file, gives something else (-built in +file):\n%s", diff)
	}
}

func TestSamplesFitTogether(t *testing.T) {
	var channels, addresses []string
	var lists [][]string
	for i := 1; i <= 3; i++ {
		cfg, origins := load(t, fmt.Sprintf("node%d.toml", i), nil, nil)
		if want := fmt.Sprintf(
			"n%d",
			i,
		); cfg.Node.Name != want || !cfg.HTTP.ExposeNode || cfg.Webapps.Dir != "../bin/webapps" ||
			cfg.Cluster.SecretFile != "../bin/cluster.secret" ||
			len(origins.Warnings) > 0 {
			t.Errorf("node%d.toml: got %+v, %v", i, cfg, origins.Warnings)
		}
		channels = append(channels, cfg.Channel.Address)
		lists = append(lists, cfg.Membership.Static)
		addresses = append(addresses, cfg.HTTP.Address, cfg.Admin.Address, cfg.Channel.Address)
	}
	balance, _ := load(t, "balance.toml", nil, nil)
	if balance.Cluster.SecretFile != "../bin/cluster.secret" {
		t.Errorf("balance.toml has another secret than the nodes: %q", balance.Cluster.SecretFile)
	}
	lists = append(lists, balance.Membership.Static)
	addresses = append(addresses, balance.Balance.Address)
	for _, list := range lists {
		if !slices.Equal(list, channels) {
			t.Errorf("membership.static is %v, want %v", list, channels)
		}
	}
	want := []string{
		"127.0.0.1:8081", "127.0.0.1:9081", "127.0.0.1:4001", "127.0.0.1:8082", "127.0.0.1:9082", "127.0.0.1:4002",
		"127.0.0.1:8083", "127.0.0.1:9083", "127.0.0.1:4003", "127.0.0.1:8080",
	}
	if diff := cmp.Diff(want, addresses); diff != "" {
		t.Errorf("addresses differ from the ones documented (-want +got):\n%s", diff)
	}
}
