package webapps

import "context"

// What the handler that New returned may have besides ServeHTTP. A node asks for these
// interfaces; none is required.
type (
	// Healthy is asked before the first request comes to a revision of an app that replaces
	// another: an error, or no answer within 10 s, keeps the revision before in service.
	Healthy interface {
		Health(ctx context.Context) error
	}

	// Closer cleans up: it is called once, when the revision's last request has ended, after
	// Context.Done has closed. The node waits for it within [webapps] drain, which is when ctx
	// ends; an error is logged.
	Closer interface {
		Close(ctx context.Context) error
	}
)
