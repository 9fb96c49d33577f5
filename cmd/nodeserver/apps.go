package main

import "github.com/nodeserver/nodeserver/webapps"

// apps are the webapps linked into this binary, besides the plugins that a node
// loads from [webapps] dir. To link yours, import its package and add it here:
//
//	return []webapps.App{cart.Webapp()}
func apps() []webapps.App {
	return nil
}
