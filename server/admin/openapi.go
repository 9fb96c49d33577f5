package admin

import (
	_ "embed" // openapi.json
	"net/http"
)

// openAPI describes all routes, their questions and answers: OpenAPI 3.1. openapi_test.go of package
// server makes it of the routes, the types of the answers and their comments.
//
//go:embed openapi.json
var openAPI []byte

func serveOpenAPI(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(openAPI) // an operator who hung up needs no answer
}
