package main

import (
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
)

// parseConfigs reads name=value assignments. A value may be empty and may contain "=".
func parseConfigs(flag string, assignments []string) (map[string]*string, error) {
	configs := make(map[string]*string, len(assignments))
	for _, text := range assignments {
		name, value, ok := strings.Cut(text, "=")
		if !ok || name == "" {
			return nil, usageErrorf("%s %q: want name=value", flag, text)
		}
		if _, twice := configs[name]; twice {
			return nil, usageErrorf("%s: %s is given twice", flag, name)
		}
		configs[name] = &value
	}
	return configs, nil
}

// configChanges are the changes that --config and --delete-config ask for.
func configChanges(set, remove []string) ([]kadm.AlterConfig, error) {
	configs, err := parseConfigs("--config", set)
	if err != nil {
		return nil, err
	}
	var changes []kadm.AlterConfig
	for _, name := range sortedKeys(configs) {
		changes = append(changes, kadm.AlterConfig{Op: kadm.SetConfig, Name: name, Value: configs[name]})
	}
	for _, name := range remove {
		if _, both := configs[name]; both {
			return nil, usageErrorf("%s: given to --config and to --delete-config", name)
		}
		changes = append(changes, kadm.AlterConfig{Op: kadm.DeleteConfig, Name: name})
	}
	return changes, nil
}
