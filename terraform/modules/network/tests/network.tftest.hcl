provider "aws" {
  region = "eu-central-1"
}

variables {
  name            = "events"
  vpc_id          = "vpc-1"
  subnet_ids      = ["subnet-a", "subnet-b", "subnet-c"]
  route_table_ids = ["rtb-1"]
  broker_ids      = [1, 2, 3]
  client_cidrs    = ["10.0.0.0/16"]
}

run "each_broker_has_an_address" {
  assert {
    condition     = [for id in ["1", "2", "3"] : split(":", output.advertised[id])[1]] == ["9093", "9094", "9095"] && endswith(output.bootstrap, ":9092")
    error_message = "Broker n is at port 9092 + n."
  }
  assert {
    condition     = startswith(output.advertised["1"], "events-") && length(distinct([for a in output.advertised : split(":", a)[0]])) == 1
    error_message = "All are at the load balancer's name."
  }
  assert {
    condition     = alltrue([for id, l in aws_lb_listener.broker : l.default_action[0].target_group_arn == aws_lb_target_group.broker[id].arn])
    error_message = "A listener leads to another broker than its port says."
  }
  assert {
    condition     = alltrue([for id, arns in output.target_group_arns : arns == [aws_lb_target_group.broker[id].arn, aws_lb_target_group.any.arn]])
    error_message = "A broker belongs to its own group and to that of all."
  }
  assert {
    condition     = aws_lb_target_group.any.preserve_client_ip == "false" && alltrue([for g in aws_lb_target_group.broker : g.preserve_client_ip == "false"])
    error_message = "With the client's address kept a broker could not be led to itself."
  }
  assert {
    condition     = aws_lb_target_group.any.health_check[0].path == "/readyz" && aws_lb_target_group.any.health_check[0].port == "8080"
    error_message = "The first port leads to brokers that are ready."
  }
  assert {
    condition     = aws_lb.this.internal && aws_lb.this.enable_deletion_protection
    error_message = "Internal and protected unless told otherwise."
  }
}

run "nothing_is_open" {
  assert {
    condition = alltrue([for r in concat(values(aws_vpc_security_group_ingress_rule.client_cidr), values(aws_vpc_security_group_ingress_rule.metrics)) :
    r.cidr_ipv4 != "0.0.0.0/0"])
    error_message = "Open to the world."
  }
  assert {
    condition     = aws_vpc_security_group_ingress_rule.client_cidr["10.0.0.0/16"].from_port == 9092 && aws_vpc_security_group_ingress_rule.client_cidr["10.0.0.0/16"].to_port == 9095
    error_message = "Clients reach exactly the listeners."
  }
  assert {
    condition     = alltrue([for r in aws_vpc_security_group_ingress_rule.broker : r.referenced_security_group_id == aws_security_group.balancer.id])
    error_message = "Brokers are reached through the load balancer only."
  }
  assert {
    condition     = toset([for e in aws_vpc_endpoint.this : e.service_name]) == toset(["com.amazonaws.eu-central-1.s3", "com.amazonaws.eu-central-1.dynamodb"])
    error_message = "The stores are reached through gateway endpoints."
  }
}

run "a_zone_of_ones_own" {
  variables {
    dns             = { zone_id = "Z123", name = "kafka.example.internal" }
    target_type     = "ip"
    route_table_ids = []
  }

  assert {
    condition     = output.bootstrap == "kafka.example.internal:9092" && output.advertised["2"] == "kafka.example.internal:9094"
    error_message = "Addresses are in the zone: ${output.bootstrap}"
  }
  assert {
    condition     = aws_lb_target_group.any.health_check[0].path == "/healthz"
    error_message = "ECS would end brokers that wait for their stores."
  }
  assert {
    condition     = aws_route53_record.this[0].name == "kafka.example.internal" && length(aws_vpc_endpoint.this) == 0
    error_message = "One record, and no endpoints without route tables."
  }
}

run "refuses_the_whole_internet" {
  command = plan

  variables {
    client_cidrs  = ["0.0.0.0/0"]
    metrics_cidrs = ["0.0.0.0/0"]
    broker_ids    = [0]
    name          = "UPPER"
    dns           = { zone_id = "Z123", name = "kafka" }
  }

  expect_failures = [var.client_cidrs, var.metrics_cidrs, var.broker_ids, var.name, var.dns]
}
