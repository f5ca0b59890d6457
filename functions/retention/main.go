// Command retention is a Lambda function that moves log starts as the retention of topics asks for.
// Its settings are in the environment: see package maintenance.
package main

import (
	"github.com/forebaylog/forebay/functions/internal/function"
	"github.com/forebaylog/forebay/functions/maintenance"
)

func main() { function.Main(maintenance.Retention.Open) }
