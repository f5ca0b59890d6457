package broker

import (
	"strconv"
	"time"

	"github.com/forebaylog/forebay/broker/config"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/collect"
)

// Lifecycle are the settings of retention, compaction and merging, and of the collector. A
// zero takes the default.
type Lifecycle struct {
	// Maintenance tells who does retention, merging and compaction: config.MaintenanceBroker,
	// the default, or config.MaintenanceNone, if functions do it.
	Maintenance    string
	RetentionCheck time.Duration // log.retention.check.interval.ms, default 5 min
	NoCleaner      bool          // turns off log.cleaner.enable, which is on by default
	// CollectInterval is how often what nothing names is looked for: 1 h; negative: never.
	CollectInterval time.Duration
	// CollectGrace is how long it is kept: 24 h in a cluster, 1 h on a node alone; at least chain.CommitWithin and collect.Margin.
	CollectGrace time.Duration
}

func (l Lifecycle) withDefaults() Lifecycle {
	setDefault(&l.Maintenance, config.MaintenanceBroker)
	setDefault(&l.RetentionCheck, 5*time.Minute)
	setDefault(&l.CollectInterval, time.Hour)
	setDefault(&l.CollectGrace, time.Hour)
	return l
}

func (l Lifecycle) validate(reject func(bad bool, format string, args ...any)) {
	reject(l.Maintenance != config.MaintenanceBroker && l.Maintenance != config.MaintenanceNone,
		"maintenance %q: must be %s or %s", l.Maintenance, config.MaintenanceBroker, config.MaintenanceNone)
	reject(l.RetentionCheck < time.Millisecond, "interval of retention %v: must be at least 1 ms", l.RetentionCheck)
	least := chain.CommitWithin + collect.Margin
	reject(l.CollectGrace < least, "grace of the collector %v: must be at least %v", l.CollectGrace, least)
}

// configs are the broker configs that l stands for, by name.
func (l Lifecycle) configs() map[string]string {
	number := func(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
	interval := "-1"
	if l.CollectInterval > 0 {
		interval = number(l.CollectInterval)
	}
	return map[string]string{
		config.Maintenance: l.Maintenance, config.RetentionCheck: number(l.RetentionCheck),
		config.CleanerEnable:   strconv.FormatBool(!l.NoCleaner),
		config.CollectInterval: interval, config.CollectGrace: number(l.CollectGrace),
	}
}
