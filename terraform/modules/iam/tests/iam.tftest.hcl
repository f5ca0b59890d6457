provider "aws" {
  region = "eu-central-1"
}

variables {
  bucket = "log"
  tables = "events"
}

# That the policies are those of `forebay iam policy`, to the letter, a test beside `make terraform` compares. Here is
# what must never be wrong.
run "only_the_collector_removes_packs" {
  assert {
    condition = toset([
      for job, p in output.policies : job if anytrue([
        for s in jsondecode(p).Statement : contains(s.Action, "s3:DeleteObject") && contains(s.Resource, "arn:aws:s3:::log/packs/*")
      ])
    ]) == toset(["collector", "node"])
    error_message = "Only the collector, and a node that collects itself, may remove packs."
  }
  assert {
    condition     = alltrue(flatten([for p in output.policies : [for s in jsondecode(p).Statement : [for a in s.Action : !strcontains(a, "*")]]]))
    error_message = "An action is allowed by a pattern."
  }
  assert {
    condition     = alltrue(flatten([for p in output.policies : [for s in jsondecode(p).Statement : [for r in s.Resource : r != "*"]]]))
    error_message = "A right is given on everything."
  }
  assert {
    condition     = alltrue([for job, p in output.policies : contains(["broker", "node", "api"], job) || !strcontains(p, "events-offsets")])
    error_message = "Group offsets are the brokers' and the API's."
  }
  assert {
    condition     = alltrue([for p in output.policies : !strcontains(p, "kms:")])
    error_message = "Rights on a key that is not there."
  }
}
