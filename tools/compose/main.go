// Command compose loads compose files as Docker Compose does, with its own loader and
// schema, and fails if one is not valid. It starts nothing and needs no Docker.
//
// It is a module of its own, so that the loader is a dependency of nothing else.
package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/compose-spec/compose-go/v2/cli"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: compose FILE...")
		os.Exit(2)
	}
	for _, name := range os.Args[1:] {
		if err := check(name); err != nil {
			fmt.Fprintf(os.Stderr, "compose: %s: %v\n", name, err)
			os.Exit(1)
		}
	}
}

func check(name string) error {
	options, err := cli.NewProjectOptions([]string{name})
	if err != nil {
		return err
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		return err
	}
	fmt.Printf("%s: %s\n", name, strings.Join(project.ServiceNames(), ", "))
	return nil
}
