package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/forebaylog/forebay/localstack/faultproxy"
)

// rotReads is how long a reader may try to get something out of what is damaged.
const rotReads = 6 * time.Second

// bitRot reads all from brokers that have nothing in memory, while bits are flipped in what
// comes from the object store. What readers get must be right; they need not get all.
func bitRot(ctx context.Context, e *env) error {
	p, n := e.processes(), 0
	return e.rounds(ctx, 4*time.Second, 5*time.Second, func(int) error {
		if err := p.KillAll(); err != nil {
			return err
		}
		rot := e.rotFiles
		if p.Store != nil {
			rot = e.rotReplies
		}
		heal, err := rot()
		if err != nil {
			return err
		}
		n++
		err = e.readRot(ctx, fmt.Sprintf("reader-of-rot-%d", n))
		if p.Store == nil {
			err = errors.Join(err, p.KillAll())
		}
		return errors.Join(err, heal(), p.StartAll(ctx))
	})
}

// readRot starts the brokers and reads what can be read.
func (e *env) readRot(ctx context.Context, name string) error {
	if err := e.processes().StartAll(ctx); err != nil {
		return err
	}
	reading, cancel := context.WithTimeout(ctx, rotReads)
	defer cancel()
	n, err := pollAll(reading, e.load, name)
	e.rec.struck("record read of rot", int64(n))
	return err
}

// rotReplies makes the store's replies bad until heal is called. The disks are deleted, so
// that reads go to the store.
func (e *env) rotReplies() (heal func() error, err error) {
	p := e.processes()
	if err := p.WipeAll(); err != nil {
		return nil, err
	}
	remove := p.Store.Add(faultproxy.Rule{
		Name: "bit flipped", Chance: 0.1, Match: faultproxy.Match{Method: "GET", Path: ".pack"}, Action: faultproxy.FlipBit(),
	})
	return func() error { remove(); return nil }, nil
}

// rotFiles flips a bit of every pack on the disks of brokers that do not run; heal flips the
// same ones back.
func (e *env) rotFiles() (heal func() error, err error) {
	var packs []string
	for _, b := range e.processes().Brokers() {
		err := filepath.WalkDir(b.Dir, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && !entry.IsDir() && strings.HasSuffix(path, ".pack") {
				packs = append(packs, path)
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("look for packs of %s: %w", b.Name, err)
		}
	}
	e.rec.struck("bit flipped", int64(len(packs)))
	return func() error { return flipBits(packs) }, flipBits(packs)
}

// flipBits flips a bit a third into each file that is still there.
func flipBits(paths []string) error {
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) || err == nil && len(content) == 0 {
			continue
		}
		if err == nil {
			content[len(content)/3] ^= 1 << 3
			err = os.WriteFile(path, content, 0o600)
		}
		if err != nil {
			return fmt.Errorf("flip a bit of %s: %w", path, err)
		}
	}
	return nil
}
