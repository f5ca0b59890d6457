package admin

import (
	"context"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	core "github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/infra/metalog"
)

// Settings are what decisions take where a request leaves the choice.
type Settings = core.Settings

// answer is what huma makes a response of.
type answer[T any] struct{ Body T }

// operation describes one of them.
type operation struct {
	id, method, path, tag, summary string
	errors                         []int // beside 400, 403 and 500
}

// handle adds an operation to the API.
func handle[I, O any](a *API, op operation, f func(ctx context.Context, in *I) (O, error)) {
	status := http.StatusOK
	huma.Register(a.huma, huma.Operation{
		OperationID: op.id, Method: op.method, Path: "/v1" + op.path, Tags: []string{op.tag}, Summary: op.summary,
		DefaultStatus: status, Errors: append([]int{http.StatusBadRequest, http.StatusForbidden, http.StatusInternalServerError}, op.errors...),
	}, func(ctx context.Context, in *I) (*answer[O], error) {
		out, err := f(ctx, in)
		if err != nil {
			return nil, a.problemOf(ctx, op.id, err)
		}
		return &answer[O]{out}, nil
	})
}

// read and write are operations, by their usual methods.
func read(id, path, tag, summary string, errors ...int) operation {
	return operation{id, http.MethodGet, path, tag, summary, errors}
}

func write(id, method, path, tag, summary string, errors ...int) operation {
	return operation{id, method, path, tag, summary, append(errors, http.StatusConflict, http.StatusUnprocessableEntity)}
}

// ChangeInput is what every change takes.
type ChangeInput struct {
	Key    string `header:"Idempotency-Key" maxLength:"200" doc:"Of requests with the same key within a day the first is carried out, and the others are told so. They are answered as the first was, also when what it changed is gone; but configs, and offsets of groups, are those of now"`
	DryRun bool   `query:"dry_run" doc:"Checks and answers as if, and changes nothing"`
}

// Changed tells what became of a change.
type Changed struct {
	DryRun  bool   `json:"dry_run" doc:"Nothing was changed"`
	Repeat  bool   `json:"repeat" doc:"A request with the same key has made the change before; nothing was changed now"`
	Version uint64 `json:"metadata_version" doc:"The version of the metadata that has it"`
}

// maxKeyed is how many changes a request with an idempotency key may have, so that it makes the cluster forget neither its own
// keys nor many of others.
const maxKeyed = metalog.MaxKeys / 10

// apply makes changes, or checks them in a dry run; request is what tells this request from others with the same key. It
// returns the Image that has them.
func (a *API) apply(ctx context.Context, in ChangeInput, request any, changes ...*core.Change) (Changed, *metalog.Image, error) {
	meta, err := a.open(ctx)
	if err != nil {
		return Changed{}, nil, err
	}
	if in.Key != "" && len(changes) > maxKeyed {
		return Changed{}, nil, problem(http.StatusBadRequest, fmt.Sprintf("a request with an Idempotency-Key may be about at most %d topics, since each of them takes one of the keys that are remembered: split it, or leave the key out", maxKeyed))
	}
	for i, ch := range changes {
		if in.Key == "" {
			break
		}
		if err := ch.Idempotent(keyOf(in.Key, i), request); err != nil {
			return Changed{}, nil, problem(http.StatusBadRequest, err.Error())
		}
	}
	if err := meta.Refresh(ctx); err != nil {
		return Changed{}, nil, err
	}
	if in.DryRun {
		core.Validate(meta.Image(), a.actor(ctx), changes...)
	} else {
		core.Apply(ctx, meta, a.actor(ctx), changes...)
	}
	img := meta.Image()
	done := Changed{DryRun: in.DryRun, Version: versionOf(img, changes...)}
	fresh := false
	for _, ch := range changes {
		if ch.Err != nil {
			return Changed{}, nil, ch.Err
		}
		done.Repeat, fresh = done.Repeat || ch.Repeated != nil, fresh || len(ch.Records) > 0
	}
	done.Repeat = done.Repeat && !fresh
	return done, img, nil
}

// actor is the caller, as the audit has it.
func (a *API) actor(ctx context.Context) core.Actor {
	c := callerOf(ctx)
	return core.Actor{
		Principal: c.Principal, At: a.cfg.Now(), Via: metalog.Via{API: c.Request, Client: c.Client, Address: c.Address},
	}
}
