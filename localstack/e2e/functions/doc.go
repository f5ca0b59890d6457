// Package functions has scenarios of the Lambda functions, run as Lambda runs them: the real
// bootstraps beside a cluster on MinIO and dynalite whose brokers leave the life of sealed data to them.
package functions
