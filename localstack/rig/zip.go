package rig

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"fmt"
	"io"
	"os"
)

// ZipFunction returns a zip of a bootstrap, as Lambda takes it.
func ZipFunction(bootstrap string) ([]byte, error) {
	program, err := os.ReadFile(bootstrap)
	if err != nil {
		return nil, fmt.Errorf("zip a function: %w", err)
	}
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	w.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, flate.BestCompression) })
	h := &zip.FileHeader{Name: "bootstrap", Method: zip.Deflate}
	h.SetMode(0o755)
	entry, err := w.CreateHeader(h)
	if err == nil {
		_, err = entry.Write(program)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("zip a function: %w", err)
	}
	return b.Bytes(), nil
}
