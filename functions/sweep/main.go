// Command sweep is a Lambda function that cleans up after dead brokers, and hands what they led to live ones.
// Its settings are in the environment: see package maintenance.
package main

import (
	"github.com/forebaylog/forebay/functions/internal/function"
	"github.com/forebaylog/forebay/functions/maintenance"
)

func main() { function.Main(maintenance.Sweep.Open) }
