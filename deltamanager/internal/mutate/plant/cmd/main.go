// Command cmd writes the overlay that plants bugs to the directory of its argument, and
// prints its path. It is run at the root of the module.
package main

import (
	"fmt"
	"os"

	"github.com/nodeserver/nodeserver/deltamanager/internal/mutate/plant"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: cmd DIRECTORY")
		os.Exit(2)
	}
	path, err := plant.Overlay(".", os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(path)
}
