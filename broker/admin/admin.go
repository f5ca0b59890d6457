// Package admin holds what an administrator may change: each change decides on an Image of the
// metadata which records make it, or why it is refused, in Kafka's vocabulary. Decisions are
// pure functions of the Image and of Settings, but for levels of features, which depend on who is
// alive. Apply appends them, with the record that says who asked, so that Kafka's APIs and the admin
// API have the same rules and leave the same audit.
// It knows no connection and no protocol type but Kafka's errors. A Change belongs to one caller
// at a time; everything else is safe for concurrent use.
package admin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/forebaylog/forebay/infra/metalog"
)

// The actions of this package's changes, as Audited has them.
const (
	ActionCreateTopic     = "topic.create"
	ActionDeleteTopic     = "topic.delete"
	ActionAddPartitions   = "topic.grow"
	ActionDeleteRecords   = "topic.truncate"
	ActionReassign        = "topic.reassign"
	ActionElectLeaders    = "topic.elect"
	ActionAlterConfigs    = "config.alter"
	ActionRemoveBroker    = "broker.remove"
	ActionDrainBroker     = "broker.drain"
	ActionUpdateFeatures  = "feature.update"
	ActionCoordinateGroup = "group.coordinate" // a function takes the shard of the group for a moment
	ActionResetOffsets    = "group.offsets.reset"
	ActionDeleteOffsets   = "group.offsets.delete"
	ActionDeleteGroup     = "group.delete"
)

// Anonymous is the principal of clients that nothing has authenticated, by Kafka's name.
const Anonymous = "User:ANONYMOUS"

// Actor is who asks for a change, and how.
type Actor struct {
	Principal string
	Via       metalog.Via
	At        time.Time
}

// maxText bounds what an Actor says of itself, in bytes.
const maxText = 256

// clip shortens s to max bytes, at a boundary of characters.
func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most]
}

// ErrKeyUsed says that the idempotency key belongs to another request.
var ErrKeyUsed = errors.New("idempotency key was used for another request")

// MaxKey is the longest idempotency key in bytes.
const MaxKey = 255

// Change is one change of the metadata that somebody asks for.
type Change struct {
	Action   string
	Resource metalog.Resource
	// Key, if it is not "", makes the change at most once: see Idempotent.
	Key, Digest string
	// Size is about how many bytes its records take as they are stored.
	Size int
	// Decide returns the records that make the change on img, none if there is nothing to do. It
	// may be called again on a newer Image. Its error is the outcome of this change alone.
	Decide func(img *metalog.Image) ([]metalog.Record, error)

	// What became of it, set by Apply and Validate.
	Err      error
	Records  []metalog.Record // that were appended for it, without the Audited; nil after an error
	Version  uint64           // of the Image that has them first; 0: nothing was appended
	Repeated *metalog.Outcome // it was made before, by a request with the same key

	refused func(error) // tells the parts of the change what Err tells all of it
}

// Idempotent gives the change an idempotency key and the digest of what is asked for, whose
// JSON tells requests apart. Of changes with one key the first is made; it is remembered for
// metalog.KeysKept, and the others find its outcome in Repeated or, if they ask for something
// else, fail with ErrKeyUsed. The changes of one request need keys of their own. It fails for a key that
// is empty or too long.
func (ch *Change) Idempotent(key string, request any) error {
	if key == "" || len(key) > MaxKey {
		return fmt.Errorf("idempotency key of %d bytes: must be of 1 to %d", len(key), MaxKey)
	}
	digest, err := Digest(request)
	if err != nil {
		return err
	}
	ch.Key, ch.Digest = key, digest
	return nil
}

// Digest tells requests apart that are asked for with one idempotency key, by their JSON. It fails if there is none.
func Digest(request any) (string, error) {
	b, err := json.Marshal(request)
	if err != nil {
		return "", fmt.Errorf("digest of a request: %w", err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16]), nil
}

// Made returns the record of type R among those that made the change.
func Made[R metalog.Record](ch *Change) (R, bool) {
	for _, r := range ch.Records {
		if r, ok := r.(R); ok {
			return r, true
		}
	}
	var none R
	return none, false
}

// slotBytes is about how much of records goes into one slot of the metadata log,
// well below the largest item of a table.
const slotBytes = 128 << 10

// auditBytes is about what an Audited takes.
const auditBytes = 256

// Apply makes changes, several to a slot, and notes the outcome of each in it. They must
// not depend on each other. At a level of the metadata that has no audit, changes are not audited.
//
// Commit point: the slot, which has the changes and who asked for them. After a crash between two slots
// the changes of the first are made and the others are not. With an Err of kv.ErrUnknown, when ctx ends
// at a bad moment, a change may have been made; with a Key it is safe to ask for it again.
func Apply(ctx context.Context, log *metalog.Log, who Actor, changes ...*Change) {
	for len(changes) > 0 {
		n, size := 0, 0
		for n < len(changes) && (n == 0 || size+changes[n].Size+auditBytes <= slotBytes) {
			size += changes[n].Size + auditBytes
			n++
		}
		applySlot(ctx, log, who, changes[:n])
		changes = changes[n:]
	}
}

func applySlot(ctx context.Context, log *metalog.Log, who Actor, changes []*Change) {
	img, err := log.Update(ctx, func(img *metalog.Image) ([]metalog.Record, error) {
		var records []metalog.Record
		keys := map[string]bool{}
		for _, ch := range changes {
			ch.decide(img, who, keys)
			if a := ch.audited(who); len(ch.Records) > 0 && img.Allows(a, ch.Records) {
				records = append(records, a)
			}
			records = append(records, ch.Records...)
		}
		return records, nil
	})
	for _, ch := range changes {
		switch {
		case err != nil && ch.Err == nil && ch.Repeated == nil:
			ch.refuse(fmt.Errorf("append to the metadata log: %w", err))
		case len(ch.Records) > 0:
			ch.Version = img.Version()
		}
	}
}

// Validate decides on changes without making them.
func Validate(img *metalog.Image, who Actor, changes ...*Change) {
	keys := map[string]bool{}
	for _, ch := range changes {
		ch.decide(img, who, keys)
	}
}

// decide sets Err, Records and Repeated. keys are those of the changes before it.
func (ch *Change) decide(img *metalog.Image, who Actor, keys map[string]bool) {
	ch.Err, ch.Records, ch.Repeated, ch.Version = nil, nil, nil, 0
	if ch.Key != "" {
		if keys[ch.Key] {
			ch.refuse(fmt.Errorf("%w: key %q stands twice", ErrKeyUsed, ch.Key))
			return
		}
		keys[ch.Key] = true
		if o, known := img.Idempotent(ch.Key); known {
			ch.repeat(o, who)
			return
		}
	}
	records, err := ch.Decide(img)
	switch {
	case err != nil:
		ch.Err = err
	case ch.Key != "" && len(records) > 0 && !img.Allows(metalog.Audited{}, records):
		ch.refuse(fmt.Errorf("idempotency key %q cannot be remembered: %w: ask without a key, or raise %s", ch.Key, metalog.ErrLevel, metalog.LevelFeature))
	default:
		ch.Records = records
	}
}

// repeat takes the outcome of the request that had the key first.
func (ch *Change) repeat(o metalog.Outcome, who Actor) {
	if o.By != clip(who.Principal, maxText) || o.Action != ch.Action || o.Resource != ch.Resource || o.Digest != ch.Digest {
		ch.refuse(fmt.Errorf("%w: key %q", ErrKeyUsed, ch.Key))
		return
	}
	ch.Repeated = &o
}

// refuse ends the change with an error that its Decide does not know of.
func (ch *Change) refuse(err error) {
	ch.Err, ch.Records = err, nil
	if ch.refused != nil {
		ch.refused(err)
	}
}

// audited is the record that says who asked for the change.
func (ch *Change) audited(who Actor) metalog.Audited {
	return metalog.Audited{
		At: who.At.UnixMilli(), By: clip(who.Principal, maxText),
		Via: metalog.Via{
			API: clip(who.Via.API, maxText), Client: clip(who.Via.Client, maxText), Address: clip(who.Via.Address, maxText),
		},
		Action: ch.Action, Resource: ch.Resource, Records: len(ch.Records), Key: ch.Key, Digest: ch.Digest,
	}
}
