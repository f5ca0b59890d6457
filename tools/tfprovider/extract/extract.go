// Package extract reads the schema of the AWS provider out of the npm package @cdktf/provider-aws, whose
// JavaScript is itself generated from that schema, one folder for each resource and data source. It knows the
// few shapes of line which that generator writes, and fails when it meets one that it does not know: a schema
// with holes would pass what it should not.
package extract

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/forebaylog/forebay/tools/tfprovider/schema"
)

// Package reads the schema out of the package's archive, which must have the given integrity, as npm writes it:
// sha512-BASE64.
func Package(archive, integrity string) (*schema.Schema, error) {
	f, err := os.Open(archive)
	if err != nil {
		return nil, fmt.Errorf("read the package: %w", err)
	}
	defer f.Close()
	sum := sha512.New()
	z, err := gzip.NewReader(io.TeeReader(f, sum))
	if err != nil {
		return nil, fmt.Errorf("read the package %s: %w", archive, err)
	}
	s := &schema.Schema{Resources: map[string]schema.Block{}, Data: map[string]schema.Block{}}
	if err := folders(tar.NewReader(z), s); err != nil {
		return nil, fmt.Errorf("package %s: %w", archive, err)
	}
	if _, err := io.Copy(io.Discard, z); err != nil { // the rest counts, too
		return nil, fmt.Errorf("read the package %s: %w", archive, err)
	}
	if _, err := io.Copy(sum, f); err != nil {
		return nil, fmt.Errorf("read the package %s: %w", archive, err)
	}
	if got := "sha512-" + base64.StdEncoding.EncodeToString(sum.Sum(nil)); got != integrity {
		return nil, fmt.Errorf("package %s has integrity %s, want %s", archive, got, integrity)
	}
	return s, nil
}

// folders adds what each folder of lib declares, in index.js, index.d.ts and the files that large ones are split into.
func folders(files *tar.Reader, s *schema.Schema) error {
	all := map[string]*folder{}
	for {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		name, inLib := strings.CutPrefix(h.Name, "package/lib/")
		dir, _, inFolder := strings.Cut(name, "/")
		if !inLib || !inFolder {
			continue
		}
		text, err := io.ReadAll(files)
		if err != nil {
			return err
		}
		if all[dir] == nil {
			all[dir] = newFolder()
		}
		switch {
		case strings.HasSuffix(name, ".d.ts"):
			all[dir].readTypes(string(text))
		case strings.HasSuffix(name, ".js"):
			if err := all[dir].readCode(string(text)); err != nil {
				return fmt.Errorf("%s: %w", h.Name, err)
			}
		}
	}
	for dir, f := range all {
		if err := f.addTo(s); err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
	}
	return nil
}
