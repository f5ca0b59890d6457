package gosuites

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/forebaylog/forebay/localstack/compat/suite"
)

// sources is where install puts a module below the directory of a suite: a directory of its
// version, so that another version is installed anew.
func sources(tools, module string) string {
	return filepath.Join(tools, strings.NewReplacer("/", "_", "@", "_").Replace(module))
}

// install copies a module out of the module cache, which is read-only, into sources. What is
// there already stays.
func install(ctx context.Context, tools, module string, log io.Writer) (string, error) {
	dir := sources(tools, module)
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	var out bytes.Buffer
	cmd := suite.Command(ctx, "go", "mod", "download", "-json", module)
	cmd.Dir, cmd.Stdout = tools, &out
	err := suite.Run(cmd, log)
	var got struct{ Dir, Error string }
	if err := errors.Join(err, json.Unmarshal(out.Bytes(), &got)); err != nil {
		return "", fmt.Errorf("install %s: %s: %w", module, got.Error, err)
	}
	temp, err := os.MkdirTemp(tools, "tmp-")
	if err != nil {
		return "", fmt.Errorf("install %s: %w", module, err)
	}
	defer func() { _ = os.RemoveAll(temp) }()
	if err := copyTree(temp, got.Dir); err != nil {
		return "", fmt.Errorf("install %s: %w", module, err)
	}
	if err := os.Rename(temp, dir); err != nil {
		if _, exists := os.Stat(dir); exists != nil {
			return "", fmt.Errorf("install %s: %w", module, err)
		}
	}
	return dir, nil
}

// copyTree copies files and directories, writable for their owner.
func copyTree(to, from string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		if d.IsDir() {
			return os.MkdirAll(target, 0o755)
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(target, data, info.Mode().Perm()|0o200)
	})
}

// build compiles the tests, or a command, of an installed module, so that a run need not.
func build(ctx context.Context, dir string, log io.Writer, args ...string) error {
	return suite.Run(goCommand(ctx, dir, args...), log)
}
