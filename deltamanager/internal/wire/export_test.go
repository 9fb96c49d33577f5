package wire

// What tests from outside see of the inside.
var (
	Millis     = millis
	DeltaClock = deltaClock
)
