// Package progress keeps how far the replication to and from one member is: [Out] says
// which changes of this node's log were sent to the member and applied there, [In] which
// frames of the member were applied here, [Lag] how late its messages come.
//
// All are pure: no locks, no clock, no I/O; time is an argument. They are values of one
// link, which guards them.
package progress
