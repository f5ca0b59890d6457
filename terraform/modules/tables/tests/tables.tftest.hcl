provider "aws" {
  region = "eu-central-1"
}

variables {
  prefix = "events"
}

run "defaults" {
  assert {
    condition     = output.names == { control = "events-control", offsets = "events-offsets" }
    error_message = "Brokers look for the tables PREFIX-control and PREFIX-offsets."
  }
  assert {
    condition     = output.arns.control == "arn:aws:dynamodb:eu-central-1:123456789012:table/events-control"
    error_message = "Not the ARN of the table: ${output.arns.control}"
  }
  assert {
    condition     = alltrue([for t in aws_dynamodb_table.this : t.billing_mode == "PAY_PER_REQUEST" && t.deletion_protection_enabled && one(t.point_in_time_recovery).enabled])
    error_message = "On demand, protected, and can be brought back."
  }
  assert {
    condition     = alltrue([for t in aws_dynamodb_table.this : one(t.server_side_encryption).enabled == false])
    error_message = "Without a key of one's own the tables are encrypted with one of DynamoDB."
  }
  assert {
    condition     = length(aws_appautoscaling_target.read) == 0
    error_message = "On demand there is nothing to scale."
  }
}

run "refuses_limits_that_cannot_be" {
  command = plan

  variables {
    prefix      = "Upper"
    provisioned = { read_min = 10, read_max = 1, write_min = 5, write_max = 50 }
  }

  expect_failures = [var.prefix, var.provisioned]
}
