provider "aws" {
  region = "eu-central-1"
}

variables {
  name   = "events"
  policy = "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Sid\":\"Read\",\"Effect\":\"Allow\",\"Action\":[\"s3:GetObject\"],\"Resource\":[\"arn:aws:s3:::log/*\"]}]}"
  image  = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/forebay:1"

  object_store       = "s3://log/prod?region=eu-central-1"
  metadata           = "dynamodb://events?region=eu-central-1"
  security_group_ids = ["sg-1"]
  brokers = {
    1 = { subnet_id = "subnet-a", zone = "eu-central-1a", advertised = "kafka.example.internal:9093", target_group_arns = ["arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/a/1"] }
    2 = { subnet_id = "subnet-b", zone = "eu-central-1b", advertised = "kafka.example.internal:9094", target_group_arns = ["arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/b/1"] }
  }
}

run "identity_is_stable" {
  assert {
    condition = alltrue([for id, s in aws_ecs_service.this :
    s.desired_count == 1 && s.deployment_maximum_percent == 100 && s.deployment_minimum_healthy_percent == 0])
    error_message = "Two tasks of one node id would run at once."
  }
  assert {
    condition = alltrue([for id, s in aws_ecs_service.this :
    s.network_configuration[0].subnets == toset([var.brokers[id].subnet_id]) && toset([for l in s.load_balancer : l.target_group_arn]) == toset(var.brokers[id].target_group_arns)])
    error_message = "A broker is in one subnet behind its own listener."
  }
  assert {
    condition = alltrue(flatten([for id, d in aws_ecs_task_definition.this : [for k, v in {
      FOREBAY_NODE_ID          = id, FOREBAY_RACK = var.brokers[id].zone, FOREBAY_ADVERTISED_LISTENERS = "PLAINTEXT://${var.brokers[id].advertised}",
      FOREBAY_OBJECT_STORE     = var.object_store, FOREBAY_METADATA = var.metadata, FOREBAY_MAINTENANCE = "none",
      FOREBAY_COLLECT_INTERVAL = "-1s",
    } : contains(jsondecode(d.container_definitions)[0].environment, { name = k, value = v })]]))
    error_message = "A task is started with other settings: ${aws_ecs_task_definition.this["1"].container_definitions}"
  }
  assert {
    condition     = alltrue([for d in aws_ecs_task_definition.this : jsondecode(d.container_definitions)[0].stopTimeout >= 30])
    error_message = "A broker needs time to give its partitions away."
  }
}

run "rights" {
  assert {
    condition     = aws_iam_role_policy.job.policy == var.policy && alltrue([for d in aws_ecs_task_definition.this : d.task_role_arn == aws_iam_role.task.arn && d.execution_role_arn == aws_iam_role.start.arn])
    error_message = "A task has other rights than those of its job."
  }
  assert {
    condition     = alltrue([for s in aws_ecs_service.this : s.network_configuration[0].assign_public_ip == false])
    error_message = "No public addresses unless told otherwise."
  }
}

run "brokers_maintain_on_instances" {
  variables {
    functions_maintain = false
    launch_type        = "EC2"
    architecture       = "amd64"
    wal_store          = "s3://fast--euc1-az1--x-s3"
  }

  assert {
    condition     = !strcontains(aws_ecs_task_definition.this["1"].container_definitions, "FOREBAY_MAINTENANCE") && strcontains(aws_ecs_task_definition.this["1"].container_definitions, "FOREBAY_WAL_STORE")
    error_message = "Brokers do maintenance unless told otherwise."
  }
  assert {
    condition     = length(aws_ecs_task_definition.this["1"].ephemeral_storage) == 0 && aws_ecs_task_definition.this["1"].runtime_platform[0].cpu_architecture == "X86_64"
    error_message = "Only Fargate has disks of tasks."
  }
}

run "refuses_what_cannot_be" {
  command = plan

  variables {
    image     = "forebay:latest"
    disk_gb   = 500
    cpu_units = 1000
    settings  = { PATH = "/tmp" }
  }

  expect_failures = [var.image, var.disk_gb, var.cpu_units, var.settings]
}
