output "names" {
  description = "Names of the functions, by what they do."
  value       = { for name, f in aws_lambda_function.this : name => f.function_name }
}

output "timeouts" {
  description = "Timeouts of the functions in seconds, by what they do."
  value       = { for name, f in local.functions : name => f.timeout_seconds }
}

output "schedules" {
  description = "Which functions run on a schedule."
  value       = keys(local.scheduled)
}

output "api_url" {
  description = "URL of the admin API, which asks for requests signed with Signature Version 4; null if there is none."
  value       = one(aws_lambda_function_url.api[*].function_url)
}

output "api_arn" {
  description = "ARN of the function of the admin API, on which its callers need lambda:InvokeFunctionUrl and lambda:InvokeFunction; null if there is none."
  value       = one([for name, f in aws_lambda_function.this : f.arn if name == "api"])
}

output "dead_letter_queue" {
  description = "Name of the queue of requests that failed."
  value       = aws_sqs_queue.dead_letters.name
}

output "role_arns" {
  description = "Roles of the functions, by what they do."
  value       = { for name, r in aws_iam_role.this : name => r.arn }
}
