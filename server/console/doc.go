// Package console is the node's pages for operators' browsers, at / of the admin address:
// how the cluster is, and what may be done about it.
//
// The server makes whole pages, which work without script. Where there is script, it fetches
// the same page every 2 s, and replaces the parts of it that have the attribute data-live. The
// content security policy lets in the style sheet and the script of this package, and nothing
// else: no inline script, no style attribute, no other host. Whatever comes from users,
// webapps or members goes through html/template.
//
// The routes are guarded by package operators, as those of /api/v1 are: roles, Origin, audit
// log. Nothing is changed by a GET.
package console
