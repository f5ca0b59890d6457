provider "aws" {
  region = "eu-central-1"
}

variables {
  name        = "events"
  package_dir = "../bin/functions"
}

run "on_ecs" {
  variables {
    platform   = "ecs"
    vpc_id     = "vpc-1"
    subnet_ids = ["subnet-a", "subnet-b"]
    image      = "example.com/forebay:1"
  }

  assert {
    condition     = keys(output.brokers) == ["1", "2", "3"] && endswith(output.broker_role_arn, "role/events-broker")
    error_message = "Three brokers with the role of brokers."
  }
}

run "stores_and_functions_alone" {
  variables {
    platform = "none"
    protect  = false
  }

  assert {
    condition     = output.bootstrap == null && output.brokers == {} && output.api_url != null
    error_message = "There are no brokers."
  }
}
