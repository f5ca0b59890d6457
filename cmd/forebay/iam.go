package main

import (
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/forebaylog/forebay/infra/rights"
)

func newIAM() *cobra.Command {
	cmd := &cobra.Command{Use: "iam", Short: "Print the rights in AWS that a cluster needs"}
	cmd.AddCommand(newIAMPolicy())
	return cmd
}

func newIAMPolicy() *cobra.Command {
	var job, account, key string
	var f storeFlags
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "Print the IAM policy of a job",
		Long: `Print the IAM policy of a job: the least rights with which it runs.

The jobs are ` + jobNames() + `. A broker leaves
maintenance and the collector to functions (--maintenance none, --collect-interval -1s); a node does all
of it itself. Only the collector and a node may remove packs. Terraform's modules attach the same policies.`,
		Example: `  forebay iam policy --for broker --object-store s3://my-log/prod?region=eu-central-1 --metadata dynamodb://my-log?region=eu-central-1
  forebay iam policy --for collector --object-store s3://my-log --metadata dynamodb://my-log > collector.json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			at, err := f.place()
			if err != nil {
				return err
			}
			at.Account, at.Key = account, key
			policy, err := rights.Policy(rights.Job(job), at)
			if err != nil {
				return usageErrorf("%w", err)
			}
			return printJSON(cmd.OutOrStdout(), policy)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&job, "for", string(rights.Broker), "the job: "+jobNames())
	flags.StringVar(&account, "account", "", "number of the account that the tables are in (default any)")
	flags.StringVar(&key, "kms-key", "", "ARN of the KMS key that buckets and tables are encrypted with, if it is one of your own")
	f.register(flags)
	return cmd
}

func jobNames() string {
	var names []string
	for _, j := range rights.Jobs {
		names = append(names, string(j))
	}
	return strings.Join(names, ", ")
}

// place is where the stores are in AWS.
func (f storeFlags) place() (at rights.Place, err error) {
	objects, err := awsURL("--object-store", f.objectStore, "s3")
	if err != nil {
		return at, err
	}
	at.Bucket, at.Prefix = objects.Host, strings.Trim(objects.Path, "/")
	tables, err := awsURL("--metadata", f.metadata, "dynamodb")
	if err != nil {
		return at, err
	}
	at.Tables, at.Region = tables.Host, tables.Query().Get("region")
	if f.walStore != "" {
		wal, err := awsURL("--wal-store", f.walStore, "s3")
		if err != nil {
			return at, err
		}
		at.WALBucket, at.WALPrefix = wal.Host, strings.Trim(wal.Path, "/")
	}
	return at, nil
}

func awsURL(flag, text, scheme string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != scheme || u.Host == "" {
		return nil, usageErrorf("%s %q: rights are about AWS, want %s://...", flag, text, scheme)
	}
	return u, nil
}
