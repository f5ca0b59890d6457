// Command compaction is a Lambda function that compacts topics and merges small segments.
// Its settings are in the environment: see package maintenance.
package main

import (
	"github.com/forebaylog/forebay/functions/internal/function"
	"github.com/forebaylog/forebay/functions/maintenance"
)

func main() { function.Main(maintenance.Compaction.Open) }
