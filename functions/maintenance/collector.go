package maintenance

import (
	"context"

	"github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/tiering/collect"
)

// Collector looks for what nothing names any more, and removes what a look long enough before has found, too.
var Collector = Task{name: "collector", result: func(ctx context.Context, w *work) (any, error) {
	return collect.New(collect.Config{
		Metadata: w.cfg.Metadata, Objects: w.cfg.Objects, WAL: w.cfg.WAL,
		Image: func(ctx context.Context) (*metalog.Image, error) {
			if err := w.meta.Refresh(ctx); err != nil {
				return nil, err
			}
			return w.meta.Image(), nil
		},
		AuditKept: admin.AuditKept,
		Grace:     w.cfg.Grace, Rate: w.cfg.Rate, Alone: w.cfg.Alone,
		// Some 80 bytes for an object, the marks of two looks, and what is due of a window.
		Window: int(w.cfg.MemoryBytes / 4 / 80), MaxMarks: int(w.cfg.MemoryBytes / 8),
		Now: w.cfg.Now, Logger: w.cfg.Logger,
	}).Run(ctx)
}}
