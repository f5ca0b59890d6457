//go:build e2e

package check

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSeeded: mistakes that are planted in a copy are found, each by what is there for it.
func TestSeeded(t *testing.T) {
	t.Parallel()
	prove := func(dir string) func(context.Context, *testing.T, tree) error {
		return func(ctx context.Context, t *testing.T, tr tree) error { return tr.prove(ctx, t, dir) }
	}
	for name, seed := range map[string]struct {
		file, old, now string
		find           func(context.Context, *testing.T, tree) error
		want           string // in what is found
	}{
		"argument that is misspelt": {
			"modules/storage/main.tf", "block_public_acls       = true", "block_public_acl        = true", prove("modules/storage"), `"block_public_acl" is not expected`,
		},
		"argument that is missing": {
			"modules/functions/api.tf", "  authorization_type = \"AWS_IAM\"\n", "", prove("modules/functions"), `"authorization_type" is required`,
		},
		"resource that is not there": {
			"modules/tables/main.tf", `"aws_dynamodb_table"`, `"aws_dynamo_table"`, func(ctx context.Context, t *testing.T, tr tree) error {
				tr.only = "" // of all that there are
				return tr.prove(ctx, t, "modules/tables")
			}, "aws_dynamo_table",
		},
		"value that AWS refuses": {
			"modules/functions/main.tf", `runtime                        = "provided.al2023"`, `runtime                        = "provided.al2024"`, prove("modules/functions"), "is none of provided.al2023",
		},
		"action that IAM does not know the form of": {
			"modules/functions/main.tf", `"logs:PutLogEvents"`, `"logs.PutLogEvents"`, prove("modules/functions"), "no action of IAM",
		},
		"API that is open to all": {
			"modules/functions/api.tf", "  authorization_type = \"AWS_IAM\"\n  target ", "  authorization_type = \"NONE\"\n  target ", prove("modules/functions"), "must not be open",
		},
		"bucket that may be public": {
			"modules/storage/main.tf", "restrict_public_buckets = true", "restrict_public_buckets = false", prove("modules/storage"), "Nothing may be public",
		},
		"rights to remove packs": {
			"modules/iam/main.tf", "{ Sid = \"WritePacks\", Action = local.write, Resource = [for k in", "{ Sid = \"WritePacks\", Action = local.remove, Resource = [for k in",
			prove("modules/iam"), "may remove packs",
		},
		"right that is missing": {
			"modules/iam/main.tf", `, "dynamodb:Query"]`, `]`, func(ctx context.Context, t *testing.T, tr tree) error {
				require.NoError(t, tr.init(ctx, t, "modules/iam"))
				return tr.compareRights(ctx, t, places["plain"])
			}, "other rights",
		},
		"key of another name": {
			"modules/tables/main.tf", `"sort"`, `"item"`, func(ctx context.Context, t *testing.T, tr tree) error {
				require.NoError(t, tr.init(ctx, t, "modules/tables"))
				return tr.compareTables(ctx, t, map[string]table{"events-control": {Name: "events-control"}})
			}, "item S RANGE",
		},
		"variable that nobody uses": {
			"variables.tf", "# Functions.\n", "variable \"spare\" {\n  description = \"Not used.\"\n  type        = string\n  default     = null\n}\n",
			func(ctx context.Context, t *testing.T, tr tree) error { return tr.lint(ctx, t) }, "terraform_unused_declarations",
		},
		"indentation": {
			"main.tf", "locals {\n  region", "locals {\n    region", func(ctx context.Context, t *testing.T, tr tree) error { return tr.format(ctx, t) }, "main.tf",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr := newTree(t)
			path := filepath.Join(tr.dir, seed.file)
			body, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Contains(t, string(body), seed.old, "the place of the seed is not there any more")
			write(t, path, strings.ReplaceAll(string(body), seed.old, seed.now))
			require.ErrorContains(t, seed.find(t.Context(), t, tr), seed.want)
		})
	}
}
