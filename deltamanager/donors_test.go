package deltamanager

import (
	"testing"

	"github.com/nodeserver/nodeserver/membership"
)

func TestAssignmentGivesEachBucketToOneDonor(t *testing.T) {
	var d assignment
	a, b := membership.ID{Name: "a"}, membership.ID{Name: "b"}
	first, again, other := d.take(1, a), d.take(1, a), d.take(1, b)
	if !first || !again || other {
		t.Errorf("a bucket was assigned to two donors")
	}
	d.release(a)
	if !d.take(1, b) {
		t.Errorf("a dead donor's bucket is not assigned again")
	}
	d.finish(1)
	if done := d.finished(); !done.Has(1) {
		t.Errorf("a finished bucket is not done")
	}
	d.reset()
	if done := d.finished(); !done.Empty() {
		t.Errorf("reset leaves what is done")
	}
}
