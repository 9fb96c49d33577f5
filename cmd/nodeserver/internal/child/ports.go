package child

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
)

// FreePorts finds loopback addresses nobody listens on. They are below the
// range from which the kernel takes ports of outgoing connections: a node that
// is started again must find its port free.
func FreePorts(n int) ([]string, error) {
	var list []string
	for tries := 0; len(list) < n; tries++ {
		if tries > 1000 {
			return nil, errors.New("no free ports on 127.0.0.1 between 20000 and 30000")
		}
		ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(20000+rand.IntN(10000)))) //nolint:noctx // loopback
		if err != nil {
			continue
		}
		defer func() { _ = ln.Close() }() // all at once, so that none is found twice
		list = append(list, ln.Addr().String())
	}
	return list, nil
}
