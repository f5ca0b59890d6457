package lifecycle

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/broker/config"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/chain"
)

// now is the time in the tests: ms 100,000 since 1970.
var now = time.UnixMilli(100_000)

// row builds segments of 10 offsets, one behind the other, from offset 0.
type row []chain.Segment

func (r row) add(maxTimestamp, sealed, length int64) row {
	base := id.Offset(10 * len(r))
	s := chain.Segment{Base: base, Next: base + 10, MaxTimestamp: maxTimestamp, Sealed: sealed, Length: length}
	if length > 0 {
		s.Object, s.ObjectSize, s.Records = "o", length, 10
	}
	return append(r, s)
}

// at adds segments of 100 bytes whose greatest timestamps are these.
func (r row) at(timestamps ...int64) row {
	for _, t := range timestamps {
		r = r.add(t, 1, 100)
	}
	return r
}

// empty adds a segment of which nothing is left.
func (r row) empty(sealed int64) row { return r.add(-1, sealed, 0) }

func keep(retention time.Duration, bytes int64) *config.Effective {
	return &config.Effective{Delete: true, Retention: retention, RetentionBytes: bytes}
}

const second = time.Second

func TestStart(t *testing.T) {
	compact := keep(second, 0)
	compact.Delete, compact.Compact = false, true
	both := keep(second, -1)
	both.Compact = true
	for _, c := range []struct {
		name     string
		segments row
		cfg      *config.Effective
		start    id.Offset
		unsealed int64
		want     id.Offset
	}{
		{"no chain", nil, keep(0, 0), 7, 0, 7},
		{"unlimited", row{}.at(1, 2, 3), keep(config.Unlimited, -1), 0, 0, 0},
		{"compact alone", row{}.at(1, 2, 3), compact, 0, 0, 0},
		{"compact and delete", row{}.at(1, 2, 99_500), both, 0, 0, 20},

		{"young", row{}.at(99_500), keep(second, -1), 0, 0, 0},
		{"just not old enough", row{}.at(99_000), keep(second, -1), 0, 0, 0},
		{"just old enough", row{}.at(98_999), keep(second, -1), 0, 0, 10},
		{"up to the end of the chain", row{}.at(1, 2, 3), keep(second, -1), 0, 0, 30},
		{"stops at the first that stays", row{}.at(1, 99_500, 1), keep(second, -1), 0, 0, 10},
		{"a time to come", row{}.at(200_000, 1), keep(second, -1), 0, 0, 0},
		{"no time of retention", row{}.at(99_999, 100_000), keep(0, -1), 0, 0, 10},
		{"the first segment reaches below the start", row{}.at(1, 99_500), keep(second, -1), 5, 0, 10},
		{"the start is beyond what goes", row{}.at(1), keep(second, -1), 15, 0, 15},
		{"records of 1970", row{}.at(0, 99_500), keep(second, -1), 0, 0, 10},

		{"no timestamps, old object", row{}.add(-1, 1, 100).at(99_500), keep(second, -1), 0, 0, 10},
		{"no timestamps, new object", row{}.add(-1, 99_500, 100).at(1), keep(second, -1), 0, 0, 0},
		{"no timestamps, unknown object", row{}.add(-1, 0, 100).at(1), keep(second, -1), 0, 0, 0},

		{"emptied, then old", row{}.empty(99_999).at(1, 99_500), keep(second, -1), 0, 0, 20},
		{"emptied, then young", row{}.empty(99_999).at(99_500), keep(second, -1), 0, 0, 0},
		{"emptied long ago", row{}.empty(1).at(99_500), keep(second, -1), 0, 0, 10},
		{"emptied in between", row{}.at(1).empty(99_999).at(99_500), keep(second, -1), 0, 0, 10},

		{"fewer bytes", row{}.at(1, 2), keep(config.Unlimited, 201), 0, 0, 0},
		{"as many bytes", row{}.at(1, 2), keep(config.Unlimited, 200), 0, 0, 0},
		{"the rest has fewer", row{}.at(1, 2, 3), keep(config.Unlimited, 201), 0, 0, 0},
		{"the rest has as many", row{}.at(1, 2, 3), keep(config.Unlimited, 200), 0, 0, 10},
		{"what is hot counts", row{}.at(1, 2), keep(config.Unlimited, 200), 0, 100, 10},
		{"what is hot is enough", row{}.at(1, 2), keep(config.Unlimited, 200), 0, 200, 20},
		{"no bytes", row{}.at(1, 2), keep(config.Unlimited, 0), 0, 0, 20},
		{"the rest is empty", row{}.at(1).empty(1), keep(config.Unlimited, 0), 0, 0, 10},

		{"size, then age", row{}.at(99_500, 2, 99_500), keep(second, 200), 0, 0, 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.want, Start(c.segments, c.cfg, c.start, now, c.unsealed))
		})
	}
}
