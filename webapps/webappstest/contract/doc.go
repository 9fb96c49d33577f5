// Package contract is what every host of webapps does alike: a table of behaviours of
// sessions that runs on real nodes and on package webappstest, so that a webapp which
// passes its test does the same when it is served. What only one of the two does
// (replication, ack levels that are waited for) is not here.
//
// It is for the tests of hosts; authors of webapps test with webappstest.
package contract
