// Command collector is a Lambda function that removes what nothing names any more from the stores of a cluster.
// Its settings are in the environment: see package maintenance.
package main

import (
	"github.com/forebaylog/forebay/functions/internal/function"
	"github.com/forebaylog/forebay/functions/maintenance"
)

func main() { function.Main(maintenance.Collector.Open) }
