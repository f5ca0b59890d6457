package objstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// probePrefix begins the keys of Probe; probeCleanup is what it takes to remove one at most.
const (
	probePrefix  = "probe/"
	probeCleanup = 30 * time.Second
)

// Probe tries all that Forebay does with a store, on a small object below "probe/"
// that it removes again: a node should do so when it starts. The error says what to
// do; see ErrNoBucket, ErrRefused and ErrUnavailable.
func Probe(ctx context.Context, s Store) error {
	key := probePrefix + strings.ToLower(rand.Text())
	err := probe(ctx, s, key)
	if err != nil {
		cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeCleanup)
		defer cancel()
		_ = s.Delete(cleanup, key) // the store is broken already, and says so
		return fmt.Errorf("probe object store: %w", err)
	}
	return nil
}

func probe(ctx context.Context, s Store, key string) error {
	content := "written by a node to try the store; safe to delete"
	if err := s.Put(ctx, key, strings.NewReader(content)); err != nil {
		return err
	}
	if err := probeRead(ctx, s, key, content); err != nil {
		return err
	}
	err := s.Put(ctx, key, strings.NewReader("another "+content))
	switch {
	case err == nil:
		return fmt.Errorf("the store replaced object %q: it must refuse a PUT with If-None-Match: * of an object that exists", key)
	case !errors.Is(err, ErrExists):
		return err
	}
	if err := probeRead(ctx, s, key, content); err != nil {
		return err
	}
	if err := s.Delete(ctx, key); err != nil {
		return err
	}
	_, err = s.Stat(ctx, key)
	switch {
	case err == nil:
		return fmt.Errorf("object %q was deleted and is still there", key)
	case !errors.Is(err, ErrNotFound):
		return err
	}
	return nil
}

// probeRead reads the object and lists it.
func probeRead(ctx context.Context, s Store, key, content string) error {
	p := make([]byte, len(content)+1)
	n, err := s.ReadAt(ctx, key, p, 0)
	if err != nil && err != io.EOF { //nolint:errorlint // promised bare
		return err
	}
	if string(p[:n]) != content {
		return fmt.Errorf("object %q has other content than was stored", key)
	}
	for info, err := range s.List(ctx, key, "") {
		if err != nil {
			return err
		}
		if info.Key == key && info.Size == int64(len(content)) {
			return nil
		}
	}
	return fmt.Errorf("object %q is stored and not listed: the store must list what it has at once", key)
}
