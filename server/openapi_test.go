package server

import (
	"encoding/json"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager"
	"github.com/nodeserver/nodeserver/server/admin"
	"github.com/nodeserver/nodeserver/server/operators"
)

var update = flag.Bool("update", false, "write openapi.json anew")

// operation is what a route's table does not say.
type operation struct {
	summary string
	query   [][2]string // names and meanings
	body    any         // of the request; nil: none; a string: a type of content
	reply   any         // of the answer; a string: a type of content
}

// Of routes at which other members can be meant, too.
var ofNode = [2]string{"node", "name of the member that is meant; none: the node that is asked"}

var skip = [2]string{"skip_unreachable", "true: members that can't be reached get it when they are back"}

// operations are what each route does.
var operations = map[string]operation{
	"GET /livez":               {"Whether the node lives.", nil, nil, "text/plain"},
	"GET /readyz":              {"Whether the node serves users (200), or why not (503).", nil, nil, "text/plain"},
	"GET /metrics":             {"Metrics, as Prometheus reads them.", nil, nil, "text/plain"},
	"GET /api/v1/openapi.json": {"This description.", nil, nil, "application/json"},
	"GET /api/v1/members":      {"The members that the node sees.", nil, nil, admin.MembersReply{}},
	"GET /api/v1/cluster":      {"What each member says of itself; each has a second to answer.", nil, nil, admin.ClusterReply{}},
	"GET /api/v1/events": {
		"What has happened at the node, or at all; with Accept: text/event-stream, also what happens, as EventsReply.events has it.",
		[][2]string{
			{"all", "true: of all members"},
			{"after", "the position of an answer before; or the header Last-Event-ID"},
		},
		nil,
		admin.EventsReply{},
	},
	"GET /api/v1/sessions": {
		"A page of the sessions that the node has, newest first.",
		[][2]string{
			{"app", "of this app; none: of all"},
			{"principal", "of this user, by their whole name"},
			{"id", "whose id begins so, in hex"},
			{"idle", "not used for as long, like 30m"},
			{"order", "created (the default) or used: newest by which of the two"},
			{"limit", "1 to 1000, else 50"},
			{"after", "the cursor of the page before"},
		},
		nil,
		admin.SessionsReply{},
	},
	"GET /api/v1/sessions/{id}":         {"One session, with its attributes by name and type.", nil, nil, admin.SessionReply{}},
	"POST /api/v1/sessions/{id}/values": {"The same with the attributes' values.", nil, nil, admin.SessionReply{}},
	"GET /api/v1/sessions/{id}/where":   {"What each member has of a session, and whether it is the same.", nil, nil, admin.WhereReply{}},
	"POST /api/v1/expire":               {"End sessions on all nodes.", nil, admin.ExpireRequest{}, admin.ExpireReply{}},
	"GET /api/v1/apps":                  {"The webapps of the node.", nil, nil, admin.AppsReply{}},
	"POST /api/v1/apps": {
		"Deploy a plugin, the body, on all nodes. The answer has a DeployStep a line.",
		[][2]string{{"version", "which version of its app it is, beside others; none: the only one"}, skip},
		"application/octet-stream",
		admin.DeployStep{},
	},
	"POST /api/v1/apps/{app}/rollback": {"Deploy the build before. A DeployStep a line.", [][2]string{skip}, nil, admin.DeployStep{}},
	"POST /api/v1/apps/{app}/undeploy": {"Take an app from all nodes. A DeployStep a line.", [][2]string{skip}, nil, admin.DeployStep{}},
	"GET /api/v1/log-level":            {"From which level on the node logs.", nil, nil, admin.LogLevelReply{}},
	"POST /api/v1/log-level": {
		"Set that, until it is set again, or the node reads its configuration again.",
		[][2]string{{"level", "debug, info, warn or error"}},
		nil,
		admin.LogLevelReply{},
	},
	"POST /api/v1/apps/{app}/stop": {
		"Have all nodes answer 503 for an app until it is started. A DeployStep a line.", [][2]string{skip}, nil, admin.DeployStep{},
	},
	"POST /api/v1/apps/{app}/start": {
		"Have all nodes serve an app that was stopped. A DeployStep a line.", [][2]string{skip}, nil, admin.DeployStep{},
	},
	"GET /api/v1/drain":    {"Whether a node drains, and how far it is.", [][2]string{ofNode}, nil, admin.DrainReply{}},
	"POST /api/v1/drain":   {"Have a node drain: its users go to other nodes.", [][2]string{ofNode}, nil, admin.DrainReply{}},
	"DELETE /api/v1/drain": {"Have a node's users come back.", [][2]string{ofNode}, nil, admin.DrainReply{}},
	"GET /debug/pprof/":    {"Profiles of the process, if admin.pprof is on.", nil, nil, "text/plain"},
}

type object = map[string]any

// The file has each route, each question and each field of each answer, as they are.
func TestOpenAPI(t *testing.T) {
	n := startNode(t, testConf("n1"), testApp())
	n.waitReady()
	guard, _, err := n.server.operators()
	if err != nil {
		t.Fatal(err)
	}
	made, err := json.MarshalIndent(describe(t, guard.Routes()), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	made = append(made, '\n')
	if *update {
		if err := os.WriteFile(openAPIFile, made, 0o644); err != nil { //nolint:gosec // it is source
			t.Fatal(err)
		}
		return
	}
	_, served := operator{t: t, admin: n.admin}.ask("GET", "/api/v1/openapi.json")
	if string(made) != served {
		t.Errorf("%s is not what the routes and the types of their answers are: go test ./server -run OpenAPI -update", openAPIFile)
	}
	newUser(t).get(n, "/test/inc")
	page, _ := n.server.manager().Newest(deltamanager.Query{Limit: 1})
	for name, o := range operations {
		path, get := strings.CutPrefix(strings.ReplaceAll(name, "{id}", page[0].Key.String()), "GET ")
		if _, text := o.reply.(string); !get || text {
			continue
		}
		_, body := operator{t: t, admin: n.admin}.ask("GET", path)
		in := json.NewDecoder(strings.NewReader(body))
		in.DisallowUnknownFields()
		if err := in.Decode(reflect.New(reflect.TypeOf(o.reply)).Interface()); err != nil {
			t.Errorf("%s answers something else than %T: %v, %s", name, o.reply, err, body)
		}
	}
}

var openAPIFile = filepath.Join("admin", "openapi.json")

// describe makes the description.
func describe(t *testing.T, routes []operators.Route) object {
	t.Helper()
	s := schemas{all: object{}, comments: comments(t, "admin", "events")}
	paths := map[string]object{}
	described := map[string]bool{}
	for _, route := range routes {
		name := route.Method + " " + route.Path
		o, ok := operations[name]
		if !ok {
			t.Errorf("%s has no entry in operations", name)
			continue
		}
		described[name] = true
		if paths[route.Path] == nil {
			paths[route.Path] = object{}
		}
		paths[route.Path][strings.ToLower(route.Method)] = s.operation(route, o)
	}
	for name := range operations {
		if !described[name] {
			t.Errorf("%s is in operations, and no route", name)
		}
	}
	return object{
		"openapi": "3.1.0",
		"info": object{
			"title": "nodeserver", "version": "1",
			"description": "What operators see and change at the admin address of a node. Each answer in JSON begins with schema: " +
				"fields may be added within a version, so clients ignore those that they don't know. Errors are text. " +
				"x-role is who may call: viewer (to look), operator (to change), anyone.",
		},
		"paths": paths,
		"components": object{
			"schemas":         s.all,
			"securitySchemes": object{"token": object{"type": "http", "scheme": "bearer"}},
		},
	}
}

var inPath = regexp.MustCompile(`\{(\w+)\}`)

func (s schemas) operation(route operators.Route, o operation) object {
	out := object{"summary": o.summary, "x-role": route.Role.String()}
	if route.Role != operators.Anyone {
		out["security"] = []object{{"token": []string{}}}
	}
	var parameters []object
	for _, m := range inPath.FindAllStringSubmatch(route.Path, -1) {
		parameters = append(parameters, object{"name": m[1], "in": "path", "required": true, "schema": object{"type": "string"}})
	}
	for _, q := range o.query {
		parameters = append(parameters, object{"name": q[0], "in": "query", "description": q[1], "schema": object{"type": "string"}})
	}
	if parameters != nil {
		out["parameters"] = parameters
	}
	if o.body != nil {
		out["requestBody"] = object{"required": true, "content": s.content(o.body)}
	}
	out["responses"] = object{
		"200":     object{"description": "done", "content": s.content(o.reply)},
		"default": object{"description": "not done: why, and what to do", "content": object{"text/plain": object{}}},
	}
	return out
}

func (s schemas) content(of any) object {
	switch of := of.(type) {
	case string:
		return object{of: object{}}
	case admin.DeployStep:
		return object{"application/x-ndjson": object{"schema": s.of(reflect.TypeOf(of))}}
	}
	return object{"application/json": object{"schema": s.of(reflect.TypeOf(of))}}
}

// schemas are those of the types of answers.
type schemas struct {
	all      object
	comments map[string]string // by Type.Field
}

func (s schemas) of(t reflect.Type) object {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return object{"type": "string", "format": "date-time"}
	case t.Kind() == reflect.Pointer:
		return s.of(t.Elem())
	case t.Kind() == reflect.String:
		return object{"type": "string"}
	case t.Kind() == reflect.Bool:
		return object{"type": "boolean"}
	case t.Kind() == reflect.Float64:
		return object{"type": "number"}
	case t.Kind() == reflect.Slice:
		return object{"type": "array", "items": s.of(t.Elem())}
	case t.Kind() == reflect.Map:
		return object{"type": "object", "additionalProperties": s.of(t.Elem())}
	case t.Kind() != reflect.Struct:
		return object{"type": "integer"}
	}
	if s.all[t.Name()] == nil {
		s.all[t.Name()] = object{} // it may be in itself
		s.all[t.Name()] = s.structure(t)
	}
	return object{"$ref": "#/components/schemas/" + t.Name()}
}

func (s schemas) structure(t reflect.Type) object {
	properties, required := object{}, []string{}
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		schema := s.of(f.Type)
		if text := s.comments[t.Name()+"."+f.Name]; text != "" {
			schema["description"] = text
		}
		properties[name] = schema
		if options != "omitempty" {
			required = append(required, name)
		}
	}
	return object{"type": "object", "properties": properties, "required": required, "description": s.comments[t.Name()]}
}

// comments are those of the types and their fields in the source of packages.
func comments(t *testing.T, dirs ...string) map[string]string {
	t.Helper()
	found := map[string]string{}
	text := func(groups ...*ast.CommentGroup) (joined string) {
		for _, g := range groups {
			joined += " " + strings.Join(strings.Fields(g.Text()), " ")
		}
		return strings.TrimSpace(joined)
	}
	for _, dir := range dirs {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(parsed, func(n ast.Node) bool {
				d, ok := n.(*ast.GenDecl)
				if !ok || len(d.Specs) != 1 {
					return true
				}
				spec, ok := d.Specs[0].(*ast.TypeSpec)
				if !ok {
					return true
				}
				found[spec.Name.Name] = text(d.Doc)
				fields, ok := spec.Type.(*ast.StructType)
				if !ok {
					return true
				}
				for _, f := range fields.Fields.List {
					for _, name := range f.Names {
						found[spec.Name.Name+"."+name.Name] = text(f.Doc, f.Comment)
					}
				}
				return true
			})
		}
	}
	return found
}
