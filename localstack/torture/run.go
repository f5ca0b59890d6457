package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/forebaylog/forebay/localstack/oracle"
)

// How long each part of a run may take.
const (
	warmUp     = 500              // acknowledgements before the first fault
	warmUpTxns = 10               // committed transactions before it
	startLimit = 2 * time.Minute  // to get there
	healLimit  = 2 * time.Minute  // to bring everything back
	resumeIn   = 30 * time.Second // until acknowledgements go on
	afterFault = 200              // acknowledgements that show that work goes on
	afterTxns  = 3                // committed transactions that show the same
)

// run runs one scenario. An error means that it could not be run; what it found is in the report.
func run(ctx context.Context, cfg config, s scenario) (rep report, err error) {
	dir, err := makeDir(cfg, s.name)
	if err != nil {
		return report{}, err
	}
	e := &env{cfg: cfg, rec: newRecorder(), rng: rand.New(rand.NewPCG(cfg.seed, 0)), began: time.Now()}
	defer func() {
		err = errors.Join(err, e.end())
		if err == nil && rep.Passed {
			err = os.RemoveAll(dir)
		}
	}()
	if err := e.begin(ctx, s, dir); err != nil {
		return report{}, fmt.Errorf("run %s: %w", s.name, err)
	}
	e.part("start")
	e.rec.watchStalls(true)
	if err := s.fault(ctx, e); err != nil {
		e.found(notHealed, "the fault: %v", err)
	}
	e.part("fault")
	e.recover(ctx)
	e.reads(ctx)
	if e.life != nil {
		e.life.end(ctx, e)
		e.part("life")
	}
	if ctx.Err() != nil {
		return report{}, fmt.Errorf("run %s: %w", s.name, context.Cause(ctx))
	}
	rep = e.report(s)
	if !rep.Passed {
		return rep, e.keep(&rep, dir)
	}
	return rep, nil
}

// begin starts the target and the load.
func (e *env) begin(ctx context.Context, s scenario, dir string) (err error) {
	starting, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	if s.machine {
		m, err := startMachine(starting, e.cfg.seed, dir)
		if err != nil {
			return err
		}
		e.target = m
	} else {
		p, err := startProcesses(ctx, e.cfg, dir) // whose processes live as long as ctx
		if err != nil {
			return err
		}
		e.target = p
	}
	if e.load, err = startLoad(starting, e.cfg, e.addrs(), e.rec); err != nil {
		return err
	}
	if err := e.rec.awaitAcked(starting, warmUp); err != nil || e.cfg.transactors == 0 {
		return err
	}
	return e.rec.awaitCommitted(starting, warmUpTxns)
}

// recover brings everything back and waits until the load has come to its end.
func (e *env) recover(ctx context.Context) {
	healing, cancel := context.WithTimeout(ctx, healLimit)
	defer cancel()
	if err := e.heal(healing); err != nil {
		e.found(notHealed, "%v", err)
	}
	resuming, cancel := context.WithTimeout(ctx, resumeIn)
	defer cancel()
	err := e.rec.awaitAcked(resuming, afterFault)
	if err == nil && e.cfg.transactors > 0 {
		err = e.rec.awaitCommitted(resuming, afterTxns)
	}
	if err != nil {
		e.found(notResumed, "within %s of the end of the fault: %v", resumeIn, err)
	}
	e.rec.watchStalls(false)
	e.part("resume")
	settling, cancel := context.WithTimeout(ctx, e.cfg.patience)
	defer cancel()
	unanswered, unseen := e.load.settle(settling, e.part)
	if unanswered != nil {
		e.found(notResumed, "within %s of the end of the load: %v", e.cfg.patience, unanswered)
	}
	if unseen != nil {
		e.found(oracle.NotDrained, "within %s of the end of the load: %v", e.cfg.patience, unseen)
	}
	e.load.close()
	e.part("end")
}

// part notes how long a part of the run has taken that ends now.
func (e *env) part(name string) {
	now := time.Since(e.began)
	for _, p := range e.parts {
		now -= p.took
	}
	e.parts = append(e.parts, part{name, now})
}

// reads reads all partitions as they are, and again when everything was started anew.
func (e *env) reads(ctx context.Context) {
	e.readOnce(ctx, "as-is")
	e.part("read")
	renewing, cancel := context.WithTimeout(ctx, healLimit)
	defer cancel()
	what, err := e.renew(renewing)
	if err != nil {
		e.found(notHealed, "%s: %v", what, err)
	}
	e.part("renew")
	e.readOnce(ctx, what)
	e.part("read again")
}

func (e *env) readOnce(ctx context.Context, name string) {
	draining, cancel := context.WithTimeout(ctx, e.cfg.patience)
	defer cancel()
	var reads [2][]oracle.Read // of everything, and of what is committed
	var errs [2]error
	var reading sync.WaitGroup
	for i := range reads {
		reading.Go(func() { reads[i], errs[i] = readAll(draining, e.load, name, i == 1) })
	}
	reading.Wait()
	for i := range reads {
		if errs[i] != nil {
			e.found(oracle.NotDrained, "the read %s: %v", name, errs[i])
		}
		e.rec.read(reads[i])
	}
	if e.life != nil {
		if err := e.life.read(draining, name); err != nil {
			e.found(oracle.NotDrained, "the read %s of what may go: %v", name, err)
		}
	}
	if err := e.load.noteCopies(draining, name); err != nil {
		e.found(oracle.NotDrained, "the read %s: %v", name, err)
	}
}

// end ends what begin has started.
func (e *env) end() error {
	if e.life != nil {
		e.life.close()
	}
	if e.load != nil {
		e.load.close()
	}
	if e.target == nil {
		return nil
	}
	return e.close()
}
