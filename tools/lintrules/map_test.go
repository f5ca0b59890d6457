package lintrules

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// checkout is the root of the repository.
const checkout = "../.."

// named are the words in code font of the map, outside of its drawings.
func named(t *testing.T) (words []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(checkout, "docs", "architecture.md"))
	if err != nil {
		t.Fatal(err)
	}
	prose := regexp.MustCompile("(?s)```.*?```").ReplaceAllString(string(text), "")
	for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(prose, -1) {
		words = append(words, m[1])
	}
	return words
}

// packages are the directories with Go files, relative to the root.
func packages(t *testing.T) (dirs []string) {
	t.Helper()
	err := filepath.WalkDir(checkout, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != checkout && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "bin") {
			return fs.SkipDir
		}
		if dir := strings.TrimPrefix(filepath.Dir(path), checkout+"/"); filepath.Ext(path) == ".go" && !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
		return nil
	})
	if err != nil || len(dirs) == 0 {
		t.Fatal(err, "no packages")
	}
	return dirs
}

// TestMapNamesEveryPackage: docs/architecture.md says of every package what it is, by its name or by the end of its path.
func TestMapNamesEveryPackage(t *testing.T) {
	words := named(t)
	for _, dir := range packages(t) {
		if !slices.ContainsFunc(words, func(w string) bool { return strings.HasSuffix("/"+dir, "/"+w) || strings.HasPrefix(w, dir+"/") }) {
			t.Errorf("docs/architecture.md does not name %s", dir)
		}
	}
}

// TestMapNamesNothingElse: the paths in docs/architecture.md are those of files and directories.
func TestMapNamesNothingElse(t *testing.T) {
	path := regexp.MustCompile(`^[\w.-]+(/[\w.*-]+)+$`)
	for _, w := range named(t) {
		if !path.MatchString(w) {
			continue
		}
		found, err := filepath.Glob(filepath.Join(checkout, w))
		below, errBelow := filepath.Glob(filepath.Join(checkout, "localstack", w)) // as the map's part on it has them
		if len(found)+len(below) == 0 || errors.Join(err, errBelow) != nil {
			t.Errorf("docs/architecture.md names %s, which is not there", w)
		}
	}
}
