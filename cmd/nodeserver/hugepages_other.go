//go:build !linux

package main

import "context"

// hugePages is for Linux.
func hugePages(context.Context) {}
