package admin

import (
	"flag"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write docs/openapi.yaml")

// TestOpenAPIIsCurrent: docs/openapi.yaml describes the API as it is. go test ./functions/admin -run OpenAPI -update makes it so.
func TestOpenAPIIsCurrent(t *testing.T) {
	const file = "../../docs/openapi.yaml"
	now, err := newRig(t).api.OpenAPI()
	require.NoError(t, err)
	if *update {
		require.NoError(t, os.WriteFile(file, now, 0o644))
	}
	stored, err := os.ReadFile(file)
	require.NoError(t, err)
	require.True(t, string(stored) == string(now), "run the test with -update")
}
