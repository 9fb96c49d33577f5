// Package dev is the command dev: it builds a webapp whenever its sources change, and serves it
// with nodes of its own.
package dev
