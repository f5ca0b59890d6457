package main

import (
	"bufio"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/forebaylog/forebay/functions/admin"
)

// tokenFile is a file of who may use an address, a token each. It is read for each request, so that it may change.
type tokenFile struct {
	flag string // that names it
	path string // "": there is none
}

// token is a line of a token file.
type token struct {
	name   string
	sum    [sha256.Size]byte
	writes bool
}

// bearer returns the token that a request has. It fails with an *admin.Refusal: of 503 while the file cannot be read, which
// may be because it is being written.
func (f tokenFile) bearer(r *http.Request) (token, error) {
	scheme, given, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return token{}, &admin.Refusal{Status: http.StatusUnauthorized, Detail: "send a token of the broker's " + f.flag + ", as Authorization: Bearer TOKEN"}
	}
	known, err := f.read()
	if err != nil {
		return token{}, &admin.Refusal{Status: http.StatusServiceUnavailable, Detail: "the broker cannot read its " + f.flag + " now: try again"}
	}
	want := sha256.Sum256([]byte(given))
	for _, t := range known {
		if subtle.ConstantTimeCompare(t.sum[:], want[:]) == 1 {
			return t, nil
		}
	}
	return token{}, &admin.Refusal{Status: http.StatusUnauthorized, Detail: "the token is not one of the broker's " + f.flag}
}

// check fails if the file cannot be read, and not if there is none.
func (f tokenFile) check() error {
	if f.path == "" {
		return nil
	}
	_, err := f.read()
	return err
}

func (f tokenFile) read() ([]token, error) {
	file, err := os.Open(f.path)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", f.flag, err)
	}
	defer file.Close()
	all, err := parseTokens(file)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", f.flag, err)
	}
	return all, nil
}

var errTokens = errors.New("want a name, a token of 16 characters or more and perhaps the word read")

// parseTokens reads a token file; empty lines and those that begin with # do not count.
func parseTokens(r io.Reader) (all []token, err error) {
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if len(fields) < 2 || len(fields) > 3 || len(fields[1]) < 16 || len(fields) == 3 && fields[2] != "read" {
			return nil, fmt.Errorf("line %d: %w", n, errTokens)
		}
		all = append(all, token{fields[0], sha256.Sum256([]byte(fields[1])), len(fields) == 2})
	}
	return all, lines.Err()
}
