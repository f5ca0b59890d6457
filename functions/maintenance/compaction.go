package maintenance

import (
	"context"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/compact"
)

// Compaction compacts the topics that ask for it and then, once all were looked at, merges the small
// segments of all and moves what lives in packs that the collector has found mostly dead, several partitions' to a pack.
var Compaction = Task{
	name: "compaction", result: counts,
	group: func(ctx context.Context, w *work, ps []id.Partition) error { return w.keeper.Compact(ctx, ps) },
	whole: func(ctx context.Context, w *work, ps []id.Partition) error { return w.keeper.Merge(ctx, ps) },
}

// keys is what compaction may take for keys.
func (w *work) keys() compact.MapConfig {
	return compact.MapConfig{Budget: w.cfg.MemoryBytes / 4, Dir: w.cfg.Scratch, MaxSpill: w.cfg.ScratchBytes}
}
