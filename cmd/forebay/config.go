package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// envPrefix begins the name of every environment variable that Forebay reads.
const envPrefix = "FOREBAY_"

// envName is the variable that sets a flag.
func envName(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// applyConfig sets every flag that the command line left alone from the
// environment or else from the configuration file.
func applyConfig(cmd *cobra.Command, lookupEnv func(string) (string, bool)) error {
	path, _ := cmd.Flags().GetString("config")
	if fromEnv, ok := lookupEnv(envName("config")); ok && path == "" {
		path = fromEnv
	}
	file, err := readConfig(path)
	if err != nil {
		return err
	}
	var errs []error
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Changed {
			return
		}
		source, values := envName(f.Name), []string(nil)
		if value, ok := lookupEnv(source); ok {
			values = []string{value}
		} else if fromFile, ok := file[f.Name]; ok {
			source, values = path, fromFile
		}
		for _, value := range values {
			if err := cmd.Flags().Set(f.Name, value); err != nil {
				errs = append(errs, fmt.Errorf("%s: %s: %w", source, f.Name, err))
			}
		}
	})
	for name := range file {
		if cmd.Flags().Lookup(name) == nil && !knownFlag(cmd.Root(), name) {
			errs = append(errs, fmt.Errorf("%s: there is no setting %q", path, name))
		}
	}
	if len(errs) > 0 {
		return usageErrorf("read configuration: %w", errors.Join(errs...))
	}
	return nil
}

// knownFlag reports whether any command has the flag, since one file serves them all.
func knownFlag(cmd *cobra.Command, name string) bool {
	if cmd.Flags().Lookup(name) != nil {
		return true
	}
	for _, sub := range cmd.Commands() {
		if knownFlag(sub, name) {
			return true
		}
	}
	return false
}

// readConfig reads a file of names and values; a value may be a list.
func readConfig(path string) (map[string][]string, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, usageErrorf("read configuration: %w", err)
	}
	defer f.Close()
	var raw map[string]any
	if err := yaml.NewDecoder(f).Decode(&raw); err != nil && !errors.Is(err, io.EOF) {
		return nil, usageErrorf("read configuration %s: %w", path, err)
	}
	values := make(map[string][]string, len(raw))
	for name, value := range raw {
		list, ok := value.([]any)
		if !ok {
			list = []any{value}
		}
		for _, element := range list {
			switch element.(type) {
			case nil:
				return nil, usageErrorf("read configuration %s: %s has no value", path, name)
			case map[string]any, []any:
				return nil, usageErrorf("read configuration %s: %s: want one value or a list of them", path, name)
			}
			values[name] = append(values[name], fmt.Sprint(element))
		}
	}
	return values, nil
}
