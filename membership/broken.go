package membership

import "context"

// broken is a provider that could not be made.
type broken struct {
	name    string
	problem error
}

// Broken stands in for a provider of that name which can't work here, so that operators see it in
// the list of providers. It proposes nothing.
func Broken(name string, problem error) Provider { return broken{name, problem} }

// Name is the name of the provider that it stands for.
func (b broken) Name() string { return b.name }

// Run waits for the end of ctx.
func (b broken) Run(ctx context.Context, _ func(Candidate)) error {
	<-ctx.Done()
	return nil
}

// Stats has the problem.
func (b broken) Stats() Stats {
	return Stats{Queries: 1, Errors: 1, Problem: b.problem.Error()}
}
