package batch

import "github.com/forebaylog/forebay/infra/id"

// Located is a record's place and time.
type Located struct {
	Offset    id.Offset
	Timestamp int64 // ms since 1970
}

// FirstAt returns the first record of v, at or above start, whose timestamp is at or above ms; false if there is
// none. It decompresses up to limit bytes, and fails as Decode does.
func FirstAt(v View, ms int64, start id.Offset, limit int64) (Located, bool, error) {
	if v.NextOffset() <= start {
		return Located{}, false, nil
	}
	if v.LogAppendTime() && v.Whole() {
		return Located{max(v.BaseOffset(), start), v.MaxTimestamp()}, v.MaxTimestamp() >= ms, nil
	}
	for r, err := range Decode(v, limit) {
		if err != nil {
			return Located{}, false, err
		}
		if r.Timestamp >= ms && r.Offset >= start {
			return Located{r.Offset, r.Timestamp}, true, nil
		}
	}
	return Located{}, false, nil
}

// Whole reports whether every offset of v has a record.
func (v View) Whole() bool { return v.Records() == v.LastOffsetDelta()+1 }
