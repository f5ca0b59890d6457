package broker

import (
	"context"
	"fmt"
	"unicode/utf8"

	"github.com/forebaylog/forebay/infra/metalog"
)

// slotBytes is about how much of records goes into one slot of the metadata log,
// well below the largest item of a table.
const slotBytes = 128 << 10

// change is one of several independent changes that a request asks for.
type change struct {
	size int // of its record as it is stored, in bytes, about
	// decide returns the record that makes the change on img. It may be called again
	// on a newer Image. Its error is the outcome of this change alone.
	decide func(img *metalog.Image) (metalog.Record, error)
	err    error
}

// update makes changes, several to a slot, and notes the outcome of each. They must
// not depend on each other.
//
// Commit point: the slot. After a crash between two slots the changes of the first
// are made and the others are not, and the client has no answer.
func (b *Broker) update(ctx context.Context, changes []*change) {
	for len(changes) > 0 {
		n, size := 0, 0
		for n < len(changes) && (n == 0 || size+changes[n].size <= slotBytes) {
			size += changes[n].size
			n++
		}
		b.updateSlot(ctx, changes[:n])
		changes = changes[n:]
	}
}

func (b *Broker) updateSlot(ctx context.Context, changes []*change) {
	_, err := b.meta.Update(ctx, func(img *metalog.Image) ([]metalog.Record, error) {
		records := make([]metalog.Record, 0, len(changes))
		for _, ch := range changes {
			var r metalog.Record
			if r, ch.err = ch.decide(img); ch.err == nil {
				records = append(records, r)
			}
		}
		return records, nil
	})
	if err == nil {
		return
	}
	for _, ch := range changes {
		if ch.err == nil {
			ch.err = fmt.Errorf("append to the metadata log: %w", err)
		}
	}
}

// validate decides on changes without making them.
func (b *Broker) validate(changes []*change) {
	img := b.meta.Image()
	for _, ch := range changes {
		_, ch.err = ch.decide(img)
	}
}

// apply makes changes or, if only is set, validates them only.
func (b *Broker) apply(ctx context.Context, changes []*change, only bool) {
	if only {
		b.validate(changes)
		return
	}
	b.update(ctx, changes)
}

// maxMessage is the longest error message of a response, in bytes.
const maxMessage = 1024

// message is the text of err for a response, nil if there is none.
func message(err error) *string {
	if err == nil {
		return nil
	}
	s := err.Error()
	if len(s) > maxMessage {
		cut := maxMessage
		for cut > 0 && !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut]
	}
	return &s
}
