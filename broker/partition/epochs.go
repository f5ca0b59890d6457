package partition

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/tiering/pack"
)

// addEpoch notes that epoch began at offset at, unless it is known already.
func (l *Log) addEpoch(epoch id.Epoch, at id.Offset) {
	if n := len(l.epochs); n == 0 || l.epochs[n-1].Epoch < epoch {
		l.epochs = append(l.epochs, pack.EpochStart{Epoch: epoch, Start: at})
	}
}

// EpochEnd returns the greatest epoch at or below want that the log has, and the
// offset behind that epoch's last record: the log end for the current epoch, the
// next epoch's start for an older one. For an epoch that the log has not reached
// it returns -1, -1 (KIP-101, KIP-279).
func (l *Log) EpochEnd(ctx context.Context, want id.Epoch) (id.Epoch, id.Offset, error) {
	l.mu.Lock()
	current, end, known, whole := l.epoch, l.committed, slices.Clone(l.epochs), l.whole
	l.mu.Unlock()
	switch {
	case want == current:
		return current, end, nil
	case want < 0 || want > current:
		return -1, -1, nil
	}
	if !whole && (len(known) == 0 || known[0].Epoch > want) {
		sealed, err := l.sealedEpochs(ctx)
		if err != nil {
			return -1, -1, fmt.Errorf("find the end of epoch %d of %s: %w", want, l.id, err)
		}
		known = l.knowEpochs(sealed)
	}
	floor, found := id.Epoch(-1), id.Offset(-1)
	for i, e := range known {
		if e.Epoch > want {
			break
		}
		floor, found = e.Epoch, end
		if i+1 < len(known) {
			found = known[i+1].Start
		}
	}
	if start := l.Watermarks().Start; floor < 0 || found <= start { // older than the first record: its end is where the log begins
		return want, start, nil
	}
	return floor, found, nil
}

// knowEpochs adds the epochs of the packs to those that are known, for the next who asks,
// and returns all of them.
func (l *Log) knowEpochs(sealed []pack.EpochStart) []pack.EpochStart {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.epochs, l.whole = mergeEpochs(sealed, l.epochs), true
	return slices.Clone(l.epochs)
}

// sealedEpochs reads the epochs of the packs from the log start on. A segment of one epoch needs
// no footer. Of one of which nothing is left only the first and the last are known: the last then begins, at the
// latest, behind it, which is right for all who have read what was there.
func (l *Log) sealedEpochs(ctx context.Context) (all []pack.EpochStart, err error) {
	for range sealedTries {
		if all, err = l.epochsOfChain(ctx); !errors.Is(err, objstore.ErrNotFound) {
			break
		}
	}
	return all, err
}

func (l *Log) epochsOfChain(ctx context.Context) ([]pack.EpochStart, error) {
	var all []pack.EpochStart
	for seg, err := range l.sealed(ctx, l.Watermarks().Start) {
		if err != nil {
			return nil, err
		}
		if seg.FirstEpoch == seg.LastEpoch || seg.Empty() {
			all = append(all, pack.EpochStart{Epoch: seg.FirstEpoch, Start: seg.Base})
			if seg.FirstEpoch != seg.LastEpoch {
				all = append(all, pack.EpochStart{Epoch: seg.LastEpoch, Start: seg.Next})
			}
			continue
		}
		run, err := l.sealedRun(ctx, seg)
		if err != nil {
			return nil, err
		}
		all = append(all, run.Epochs...)
	}
	return all, nil
}

// mergeEpochs joins two lists in order of offset and keeps each epoch's first start.
func mergeEpochs(a, b []pack.EpochStart) []pack.EpochStart {
	all := append(a, b...)
	slices.SortStableFunc(all, func(x, y pack.EpochStart) int {
		if x.Epoch != y.Epoch {
			return int(x.Epoch) - int(y.Epoch)
		}
		return int(x.Start - y.Start)
	})
	return slices.CompactFunc(all, func(x, y pack.EpochStart) bool { return x.Epoch == y.Epoch })
}
