package gosuites

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/localstack/compat/suite"
)

// What `go test -json` says of tests that pass, fail, are skipped and never end.
const testOutput = `{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestPass"}
{"Action":"output","Package":"p","Test":"TestPass","Output":"=== RUN   TestPass\n"}
{"Action":"pass","Package":"p","Test":"TestPass","Elapsed":1.5}
{"Action":"run","Package":"p","Test":"TestParent"}
{"Action":"run","Package":"p","Test":"TestParent/good"}
{"Action":"run","Package":"p","Test":"TestParent/bad"}
{"Action":"output","Package":"p","Test":"TestParent/bad","Output":"    a_test.go:12: want 1\n"}
{"Action":"output","Package":"p","Test":"TestParent/bad","Output":"    a_test.go:13: got 2\n"}
{"Action":"fail","Package":"p","Test":"TestParent/bad","Elapsed":0}
{"Action":"pass","Package":"p","Test":"TestParent/good","Elapsed":0}
{"Action":"fail","Package":"p","Test":"TestParent","Elapsed":0}
{"Action":"run","Package":"p","Test":"TestAlone"}
{"Action":"run","Package":"p","Test":"TestAlone/good"}
{"Action":"pass","Package":"p","Test":"TestAlone/good","Elapsed":0}
{"Action":"output","Package":"p","Test":"TestAlone","Output":"words without a place\n"}
{"Action":"fail","Package":"p","Test":"TestAlone","Elapsed":0}
{"Action":"run","Package":"p","Test":"TestSkip"}
{"Action":"output","Package":"p","Test":"TestSkip","Output":"    a_test.go:20: no SASL\n"}
{"Action":"skip","Package":"p","Test":"TestSkip","Elapsed":0}
{"Action":"run","Package":"p","Test":"TestTestify"}
{"Action":"output","Package":"p","Test":"TestTestify","Output":"    a_test.go:30: \n"}
{"Action":"output","Package":"p","Test":"TestTestify","Output":"        \tError Trace:\ta_test.go:30\n"}
{"Action":"output","Package":"p","Test":"TestTestify","Output":"        \tError:      \tReceived unexpected error:\n"}
{"Action":"output","Package":"p","Test":"TestTestify","Output":"        \t            \tno broker\n"}
{"Action":"output","Package":"p","Test":"TestTestify","Output":"        \tTest:       \tTestTestify\n"}
{"Action":"fail","Package":"p","Test":"TestTestify","Elapsed":0}
not json
{"Action":"run","Package":"p","Test":"TestHangs"}
`

func TestCasesOfGoTest(t *testing.T) {
	var log strings.Builder
	e := newEvents(&log)
	for _, part := range strings.SplitAfter(testOutput, "Action") { // not at the ends of lines
		n, err := e.Write([]byte(part))
		require.NoError(t, err)
		require.Equal(t, len(part), n)
	}
	require.Equal(t, []suite.Case{
		{Name: "TestPass", Outcome: suite.Passed, Took: 1500 * time.Millisecond},
		{Name: "TestParent/good", Outcome: suite.Passed},
		{Name: "TestParent/bad", Outcome: suite.Failed, Reason: "want 1; got 2"},
		{Name: "TestAlone", Outcome: suite.Failed, Reason: "words without a place"},
		{Name: "TestAlone/good", Outcome: suite.Passed},
		{Name: "TestSkip", Outcome: suite.Skipped, Reason: "no SASL"},
		{Name: "TestTestify", Outcome: suite.Failed, Reason: "Received unexpected error:; no broker"},
		{Name: "TestHangs", Outcome: suite.Failed, Reason: "it did not end"},
	}, e.cases())
	require.False(t, e.panicked)
	require.Contains(t, log.String(), "not json\n")
	require.Contains(t, log.String(), "want 1\n")
}

func TestPanicIsSeen(t *testing.T) {
	e := newEvents(&strings.Builder{})
	_, err := e.Write([]byte(`{"Action":"output","Test":"TestA","Output":"panic: test timed out after 1m\n"}` + "\n"))
	require.NoError(t, err)
	require.True(t, e.panicked)
}
