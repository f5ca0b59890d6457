// Command tfprovider stands in for the Terraform provider of AWS where there is no AWS: it knows every resource,
// data source and argument with its type, from the schema beside it, and makes up what AWS would answer.
//
//	tfprovider extract ARCHIVE INTEGRITY SCHEMA   writes the schema, out of the archive of the npm package @cdktf/provider-aws
//	tfprovider version SCHEMA                     prints the version of the provider
//	tfprovider                                    serves aws.schema in its own directory to OpenTofu or Terraform, which start it
//
// TFPROVIDER_ONLY in the environment names, with commas between them, the resources and data sources that are served,
// which is faster than to serve all two thousand.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/terraform-plugin-go/tfprotov5"
	"github.com/hashicorp/terraform-plugin-go/tfprotov5/tf5server"

	"github.com/forebaylog/forebay/tools/tfprovider/extract"
	"github.com/forebaylog/forebay/tools/tfprovider/provider"
	"github.com/forebaylog/forebay/tools/tfprovider/schema"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "tfprovider:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 4 && args[0] == "extract":
		s, err := extract.Package(args[1], args[2])
		if err != nil {
			return err
		}
		return s.Save(args[3])
	case len(args) == 2 && args[0] == "version":
		s, err := schema.Load(args[1])
		if err != nil {
			return err
		}
		fmt.Println(s.Version)
		return nil
	case len(args) == 0:
		return serve()
	default:
		return fmt.Errorf("unknown arguments %q: want extract ARCHIVE INTEGRITY SCHEMA, version SCHEMA, or nothing", args)
	}
}

func serve() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	var only []string
	if names := os.Getenv("TFPROVIDER_ONLY"); names != "" {
		only = strings.Split(names, ",")
	}
	s, err := schema.Load(filepath.Join(filepath.Dir(self), "aws.schema"), only...)
	if err != nil {
		return err
	}
	return tf5server.Serve("registry.opentofu.org/hashicorp/aws", func() tfprotov5.ProviderServer { return provider.New(s) })
}
